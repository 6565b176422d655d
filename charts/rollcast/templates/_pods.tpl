{{/* All pods are alike in this. Takes (list . "component" own). */}}
{{- define "rollcast.podBasics" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
serviceAccountName: {{ include "rollcast.serviceAccount" . }}
automountServiceAccountToken: {{ has (index . 1) (list "operator" "retire") }}
enableServiceLinks: false
securityContext:
  {{- include "rollcast.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "rollcast.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end -}}

{{/* What the standard "restricted" asks of a container, and a root file system that cannot be written. */}}
{{- define "rollcast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Takes (list . own). */}}
{{- define "rollcast.env" -}}
{{- range $name, $value := (index . 1).env }}
- name: {{ $name }}
  value: {{ include "rollcast.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* To Helm every number is a float, which it writes as 1e+07. */}}
{{- define "rollcast.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end -}}

{{/* Annotations of pods that show metrics on a port. Takes (list . own port). */}}
{{- define "rollcast.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- with (index . 1).podAnnotations }}{{ toYaml . }}
{{ end -}}
{{- if $root.Values.monitoring.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 2 | quote }}
{{ end -}}
rollcast.dev/config: {{ include "rollcast.clientChecksum" $root | quote }}
{{- end -}}
