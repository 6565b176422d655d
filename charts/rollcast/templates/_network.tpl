{{/* Egress rules, each of which a policy is made of. */}}

{{/* The ports in a list of host:port, as JSON: {"items": […]}. */}}
{{- define "rollcast.kafkaPorts" -}}
{{- $ports := .Values.networkPolicy.kafka.ports -}}
{{- if not $ports -}}
{{- range splitList "," (include "rollcast.kafkaServers" .) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- end -}}
{{- dict "items" (uniq $ports) | toJson -}}
{{- end -}}

{{- define "rollcast.s3Ports" -}}
{{- $ports := .Values.networkPolicy.s3.ports -}}
{{- if not $ports -}}
{{- $endpoint := include "rollcast.s3Endpoint" . -}}
{{- $port := regexFind ":[0-9]+(/|$)" $endpoint | trimSuffix "/" | trimPrefix ":" -}}
{{- $ports = list (int (default (ternary 80 443 (hasPrefix "http://" $endpoint)) $port)) -}}
{{- end -}}
{{- dict "items" $ports | toJson -}}
{{- end -}}

{{/* Takes (list peers ports), with no peers meaning any. */}}
{{- define "rollcast.egressTo" -}}
- ports:
    {{- range index . 1 }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "rollcast.egressDns" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rollcast.egressClients" -}}
{{- $policy := .Values.networkPolicy -}}
{{ include "rollcast.egressDns" . }}
{{ include "rollcast.egressTo" (list $policy.kafka.to (include "rollcast.kafkaPorts" . | fromJson).items) }}
{{ include "rollcast.egressTo" (list $policy.s3.to (include "rollcast.s3Ports" . | fromJson).items) }}
{{- end -}}

{{- define "rollcast.egressApiServer" -}}
{{- $peers := list -}}
{{- range .Values.networkPolicy.apiServer.cidrs -}}
{{- $peers = append $peers (dict "ipBlock" (dict "cidr" .)) -}}
{{- end -}}
{{ include "rollcast.egressTo" (list $peers .Values.networkPolicy.apiServer.ports) }}
{{- end -}}

{{/* Whoever reads metrics, and `helm test`. Takes (list . port). */}}
{{- define "rollcast.ingressMetrics" -}}
{{- $root := index . 0 -}}
- ports:
    - {protocol: TCP, port: {{ index . 1 }}}
  from:
    {{- with $root.Values.networkPolicy.prometheus.from }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    - podSelector:
        matchLabels:
          {{- include "rollcast.selector" (list $root "test") | nindent 10 }}
{{- end -}}
