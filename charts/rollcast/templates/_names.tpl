{{- define "rollcast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "rollcast" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-rollcast" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rollcast.installation" -}}
{{- .Values.installation | default .Release.Name -}}
{{- end -}}

{{/* Of objects. Takes (list . "component"). */}}
{{- define "rollcast.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: rollcast
{{ include "rollcast.selector" . }}
{{- end -}}

{{/* What a selector can never change. The operator's own objects have another instance label: none. */}}
{{- define "rollcast.selector" -}}
app.kubernetes.io/name: rollcast
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Of pods; `own` are the component's values. Takes (list . "component" own). */}}
{{- define "rollcast.podLabels" -}}
{{- with (index . 2).podLabels }}{{ toYaml . }}
{{ end -}}
app.kubernetes.io/part-of: rollcast
{{ include "rollcast.selector" . }}
{{- end -}}

{{/* How slots are told from other pods, in every namespace. */}}
{{- define "rollcast.slotSelector" -}}
app.kubernetes.io/component: predictor
rollcast.dev/installation: {{ include "rollcast.installation" . }}
{{- end -}}

{{/* Takes (list . "operator"). */}}
{{- define "rollcast.image" -}}
{{- $image := (index . 0).Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- index $image.repositories (index . 1) }}:{{ $image.tag | default (index . 0).Chart.AppVersion -}}
{{- end -}}

{{- define "rollcast.serviceAccount" -}}
{{- $own := index . 2 -}}
{{- $own.serviceAccount.name | default (printf "%s-%s" (include "rollcast.fullname" (index . 0)) (index . 1)) -}}
{{- end -}}

{{/* The namespaces with models, as JSON: {"items": […]}. */}}
{{- define "rollcast.modelNamespaces" -}}
{{- dict "items" (.Values.models.namespaces | default (list .Release.Namespace) | uniq) | toJson -}}
{{- end -}}

{{/* Those and the release's own. */}}
{{- define "rollcast.allNamespaces" -}}
{{- $models := (include "rollcast.modelNamespaces" . | fromJson).items -}}
{{- dict "items" (prepend $models .Release.Namespace | uniq) | toJson -}}
{{- end -}}

{{- define "rollcast.firstModelNamespace" -}}
{{- first (include "rollcast.modelNamespaces" . | fromJson).items -}}
{{- end -}}

{{- define "rollcast.bridgeNamespace" -}}
{{- .Values.bridge.namespace | default (include "rollcast.firstModelNamespace" .) -}}
{{- end -}}

{{/* Whether an optional API is used. Takes (list . value "group/version/Kind"). */}}
{{- define "rollcast.wants" -}}
{{- $value := toString (index . 1) -}}
{{- if or (eq $value "true") (and (eq $value "auto") ((index . 0).Capabilities.APIVersions.Has (index . 2))) -}}yes{{- end -}}
{{- end -}}
