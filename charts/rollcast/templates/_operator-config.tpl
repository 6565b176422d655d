{{/* operator_config.yaml: what slots get, and the bridge. */}}
{{- define "rollcast.operatorConfig" -}}
{{- $name := include "rollcast.fullname" . -}}
{{- $predictor := .Values.predictor -}}
{{- $env := dict -}}
{{- range $variable, $value := $predictor.env -}}
{{- $_ := set $env $variable (include "rollcast.text" $value) -}}
{{- end -}}
{{- $volumes := include "rollcast.caVolumes" . | fromYamlArray -}}
{{- $mounts := include "rollcast.caMounts" . | fromYamlArray -}}
{{- with include "rollcast.caFile" (list "s3" .Values.s3) -}}
{{- $_ := set $env "AWS_CA_BUNDLE" . -}}
{{- end -}}
{{- $key := $predictor.verifyKey -}}
{{- if or $key.secretName $key.configMapName -}}
{{- $_ := set $env "ROLLCAST_VERIFY_KEY" (printf "/etc/rollcast/verify-key/%s" $key.key) -}}
{{- $source := ternary (dict "secret" (dict "secretName" $key.secretName)) (dict "configMap" (dict "name" $key.configMapName)) (not (empty $key.secretName)) -}}
{{- $volumes = append $volumes (merge (dict "name" "verify-key") $source) -}}
{{- $mounts = append $mounts (dict "name" "verify-key" "mountPath" "/etc/rollcast/verify-key" "readOnly" true) -}}
{{- end -}}
{{- $annotations := include "rollcast.podAnnotations" (list . $predictor 9108) | fromYaml -}}
slots:
  image: {{ include "rollcast.image" (list . "predictor") }}
  image_pull_policy: {{ .Values.image.pullPolicy }}
  {{- with .Values.image.pullSecrets }}
  image_pull_secrets: {{ toJson . }}
  {{- end }}
  kafka_config_map: {{ $name }}-kafka
  {{- with include "rollcast.kafkaSecret" . }}
  kafka_secret: {{ . }}
  {{- end }}
  s3_config_map: {{ $name }}-s3
  {{- with include "rollcast.s3Secret" . }}
  env_from_secrets: [{{ . }}]
  {{- end }}
  {{- with $env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $predictor.serviceAccountName }}
  service_account_name: {{ . }}
  {{- end }}
  {{- with $predictor.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurity.runAsUser }}
  run_as_user: {{ int64 . }}
  {{- end }}
  {{- with $predictor.nodeSelector }}
  node_selector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $predictor.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $predictor.priorityClassName }}
  priority_class_name: {{ . }}
  {{- end }}
  {{- with $predictor.podLabels }}
  pod_labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  pod_annotations:
    {{- toYaml $annotations | nindent 4 }}
  {{- with $volumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  volume_mounts:
    {{- toYaml $mounts | nindent 4 }}
  {{- end }}
  termination_grace_seconds: {{ $predictor.terminationGraceSeconds }}
  cache_size: {{ $predictor.cacheSize | quote }}
  {{- if include "rollcast.wantsKedaAuthentication" . }}
  keda_authentication: {{ $name }}-kafka
  {{- end }}
  {{- with include "rollcast.kedaTrigger" . | fromYaml }}
  keda_trigger:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.bridge }}
{{- if .enabled }}
bridge:
  namespace: {{ include "rollcast.bridgeNamespace" $ }}
  {{- with .models }}
  models: {{ toJson . }}
  {{- end }}
  {{- with .defaultModel }}
  default_model: {{ . | quote }}
  {{- end }}
  {{- with .template }}
  template:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  revision_history_limit: {{ .revisionHistoryLimit }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "rollcast.wantsKedaAuthentication" -}}
{{- $needs := or (include "rollcast.kafkaSecret" .) (include "rollcast.caFile" (list "kafka" .Values.kafka)) -}}
{{- if and $needs (include "rollcast.wants" (list . .Values.keda.authentication "keda.sh/v1alpha1/TriggerAuthentication")) -}}yes{{- end -}}
{{- end -}}

{{/* As KEDA calls what kafka_config.yaml says. */}}
{{- define "rollcast.kedaTrigger" -}}
{{- $trigger := dict -}}
{{- if include "rollcast.hasTls" . -}}
{{- $_ := set $trigger "tls" "enable" -}}
{{- end -}}
{{- if include "rollcast.hasSasl" . -}}
{{- $names := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer" -}}
{{- $_ := set $trigger "sasl" (get $names .Values.kafka.saslMechanism) -}}
{{- end -}}
{{- range $name, $value := .Values.keda.trigger -}}
{{- $_ := set $trigger $name (include "rollcast.text" $value) -}}
{{- end -}}
{{- toYaml $trigger -}}
{{- end -}}
