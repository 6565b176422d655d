{{/* How every part reaches Kafka and S3: the files, where they are mounted, and the variables. */}}

{{- define "rollcast.kafkaServers" -}}
{{- if .Values.kafka.servers -}}
{{- .Values.kafka.servers -}}
{{- else if .Values.dev.kafka.enabled -}}
{{- printf "%s-dev-kafka.%s.svc:9092" (include "rollcast.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- fail "kafka.servers is missing: host:port of your brokers, several separated by commas; on a cluster of your own for trying out, take values-dev.yaml" -}}
{{- end -}}
{{- end -}}

{{- define "rollcast.kafkaSecret" -}}
{{- $kafka := .Values.kafka -}}
{{- if $kafka.secret.name -}}
{{- if or $kafka.password $kafka.clientCertificate $kafka.clientKey -}}
{{- fail "kafka.secret.name names a Secret of yours, and kafka.password or kafka.client… ask for one of the chart's: give one of them" -}}
{{- end -}}
{{- $kafka.secret.name -}}
{{- else if or $kafka.password $kafka.clientCertificate -}}
{{- printf "%s-kafka" (include "rollcast.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* A part's own Secret, else that of all. Takes (list . "predictor"). */}}
{{- define "rollcast.kafkaSecretOf" -}}
{{- $user := get (index . 0).Values.kafka.users (index . 1) | default dict -}}
{{- $user.secretName | default (include "rollcast.kafkaSecret" (index . 0)) -}}
{{- end -}}

{{/* A part's own user, which goes over that of kafka_config.yaml. Takes (list . "predictor"). */}}
{{- define "rollcast.kafkaUserOf" -}}
{{- (get (index . 0).Values.kafka.users (index . 1) | default dict).username | default "" -}}
{{- end -}}

{{- define "rollcast.hasSasl" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}yes{{- end -}}
{{- end -}}

{{- define "rollcast.hasTls" -}}
{{- if hasSuffix "SSL" .Values.kafka.securityProtocol -}}yes{{- end -}}
{{- end -}}

{{- define "rollcast.hasClientCertificate" -}}
{{- $kafka := .Values.kafka -}}
{{- if and (include "rollcast.hasTls" .) (or $kafka.clientCertificate $kafka.secret.mutualTls (and $kafka.secret.name (eq $kafka.securityProtocol "SSL"))) -}}yes{{- end -}}
{{- end -}}

{{/* Where the CA's file is: it is in the ConfigMap, or on a volume of its own. Takes (list "kafka" values). */}}
{{- define "rollcast.caFile" -}}
{{- $name := index . 0 -}}
{{- $ca := (index . 1).ca -}}
{{- if $ca.pem -}}/etc/rollcast/{{ $name }}/ca.crt
{{- else if or $ca.secretName $ca.configMapName -}}/etc/rollcast/{{ $name }}-ca/{{ $ca.key }}
{{- end -}}
{{- end -}}

{{- define "rollcast.kafkaConfig" -}}
{{- $kafka := .Values.kafka -}}
{{- $secret := include "rollcast.kafkaSecret" . -}}
{{- $broker := dict "servers" (include "rollcast.kafkaServers" .) "security_protocol" $kafka.securityProtocol -}}
{{- if include "rollcast.hasSasl" . -}}
{{- if not $kafka.saslMechanism -}}
{{- fail (printf "kafka.saslMechanism is missing: with kafka.securityProtocol %s it may be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER" $kafka.securityProtocol) -}}
{{- end -}}
{{- $_ := set $broker "sasl_mechanism" $kafka.saslMechanism -}}
{{- if ne $kafka.saslMechanism "OAUTHBEARER" -}}
{{- if not (or $secret $kafka.users) -}}
{{- fail (printf "kafka.secret.name is missing: a Secret with the password for %s (or kafka.username and kafka.password)" $kafka.saslMechanism) -}}
{{- end -}}
{{- if $kafka.username -}}
{{- $_ := set $broker "username" $kafka.username -}}
{{- else if not $kafka.password -}}
{{- $_ := set $broker "username_file" (printf "/etc/rollcast/kafka-secret/%s" $kafka.secret.usernameKey) -}}
{{- else -}}
{{- fail "kafka.username is missing: kafka.password is given" -}}
{{- end -}}
{{- $_ := set $broker "password_file" (printf "/etc/rollcast/kafka-secret/%s" $kafka.secret.passwordKey) -}}
{{- end -}}
{{- else if or $kafka.saslMechanism $kafka.username $kafka.password -}}
{{- fail (printf "kafka.saslMechanism, username or password are given, but kafka.securityProtocol is %s, which would not send them; it may be SASL_SSL" $kafka.securityProtocol) -}}
{{- end -}}
{{- $ca := include "rollcast.caFile" (list "kafka" $kafka) -}}
{{- if include "rollcast.hasTls" . -}}
{{- if $ca -}}
{{- $_ := set $broker "ssl_ca_file" $ca -}}
{{- end -}}
{{- if include "rollcast.hasClientCertificate" . -}}
{{- $_ := set $broker "ssl_certificate_file" (printf "/etc/rollcast/kafka-secret/%s" $kafka.secret.certificateKey) -}}
{{- $_ := set $broker "ssl_key_file" (printf "/etc/rollcast/kafka-secret/%s" $kafka.secret.privateKeyKey) -}}
{{- end -}}
{{- else if or $ca $kafka.clientCertificate $kafka.secret.mutualTls -}}
{{- fail (printf "kafka.ca or a client certificate are given, but kafka.securityProtocol is %s, which would not use them; it may be SSL or SASL_SSL" $kafka.securityProtocol) -}}
{{- end -}}
{{- with $kafka.properties -}}
{{- $_ := set $broker "properties" . -}}
{{- end -}}
{{- $consumer := dict "auto_offset_reset" $kafka.consumer.autoOffsetReset -}}
{{- with $kafka.consumer.properties -}}
{{- $_ := set $consumer "properties" . -}}
{{- end -}}
{{- $whole := dict "broker" $broker "consumer" $consumer "topics" (merge (dict "prefix" $kafka.topics.prefix) $kafka.topics.names) -}}
{{- with $kafka.producer.properties -}}
{{- $_ := set $whole "producer" (dict "properties" .) -}}
{{- end -}}
{{- toYaml $whole -}}
{{- end -}}

{{- define "rollcast.s3Endpoint" -}}
{{- if .Values.s3.endpointUrl -}}
{{- .Values.s3.endpointUrl -}}
{{- else if .Values.dev.s3.enabled -}}
{{- printf "http://%s-dev-s3.%s.svc:7070" (include "rollcast.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "rollcast.s3Secret" -}}
{{- $s3 := .Values.s3 -}}
{{- if and $s3.secret.name (or $s3.accessKeyId $s3.secretAccessKey) -}}
{{- fail "s3.secret.name names a Secret of yours, and s3.accessKeyId asks for one of the chart's: give one of them" -}}
{{- end -}}
{{- if ne (empty $s3.accessKeyId) (empty $s3.secretAccessKey) -}}
{{- fail "s3.accessKeyId and s3.secretAccessKey belong together: give both or none" -}}
{{- end -}}
{{- if $s3.secret.name -}}
{{- $s3.secret.name -}}
{{- else if $s3.accessKeyId -}}
{{- printf "%s-s3" (include "rollcast.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "rollcast.s3Config" -}}
{{- if not .Values.s3.bucket -}}
{{- fail "s3.bucket is missing: the bucket that model files lie in" -}}
{{- end -}}
{{- $config := dict "bucket" .Values.s3.bucket "region" .Values.s3.region -}}
{{- with include "rollcast.s3Endpoint" . -}}
{{- $_ := set $config "endpoint_url" . -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Pods are replaced when what they read once has changed. Secrets that the chart does not make cannot be seen. */}}
{{- define "rollcast.clientChecksum" -}}
{{- $kafka := .Values.kafka -}}
{{- $own := list $kafka.password $kafka.clientCertificate $kafka.clientKey $kafka.ca.pem .Values.s3.accessKeyId .Values.s3.secretAccessKey .Values.s3.ca.pem $kafka.users (include "rollcast.kafkaSecret" .) (include "rollcast.s3Secret" .) -}}
{{- printf "%s%s%s" (include "rollcast.kafkaConfig" .) (include "rollcast.s3Config" .) (toJson $own) | sha256sum | trunc 16 -}}
{{- end -}}

{{/* Volumes with a CA of yours, which slots get, too. */}}
{{- define "rollcast.caVolumes" -}}
{{- range $name, $ca := dict "kafka-ca" .Values.kafka.ca "s3-ca" .Values.s3.ca }}
{{- if and (not $ca.pem) $ca.secretName }}
- name: {{ $name }}
  secret:
    secretName: {{ $ca.secretName }}
    items: [{key: {{ $ca.key | quote }}, path: {{ $ca.key | quote }}}]
{{- else if and (not $ca.pem) $ca.configMapName }}
- name: {{ $name }}
  configMap:
    name: {{ $ca.configMapName }}
    items: [{key: {{ $ca.key | quote }}, path: {{ $ca.key | quote }}}]
{{- end }}
{{- end }}
{{- end -}}

{{- define "rollcast.caMounts" -}}
{{- range $name, $ca := dict "kafka-ca" .Values.kafka.ca "s3-ca" .Values.s3.ca }}
{{- if and (not $ca.pem) (or $ca.secretName $ca.configMapName) }}
- name: {{ $name }}
  mountPath: /etc/rollcast/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes (list . "operator"), as those below. */}}
{{- define "rollcast.clientVolumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir: {}
- name: kafka
  configMap:
    name: {{ include "rollcast.fullname" $root }}-kafka
- name: s3
  configMap:
    name: {{ include "rollcast.fullname" $root }}-s3
{{- with include "rollcast.kafkaSecretOf" . }}
- name: kafka-secret
  secret:
    secretName: {{ . }}
{{- end }}
{{- include "rollcast.caVolumes" $root }}
{{- end -}}

{{- define "rollcast.clientMounts" -}}
{{- $root := index . 0 -}}
- name: tmp
  mountPath: /tmp
- name: kafka
  mountPath: /etc/rollcast/kafka
  readOnly: true
- name: s3
  mountPath: /etc/rollcast/s3
  readOnly: true
{{- if include "rollcast.kafkaSecretOf" . }}
- name: kafka-secret
  mountPath: /etc/rollcast/kafka-secret
  readOnly: true
{{- end }}
{{- include "rollcast.caMounts" $root }}
{{- end -}}

{{- define "rollcast.clientEnv" -}}
{{- with include "rollcast.kafkaUserOf" . }}
- name: ROLLCAST_KAFKA_USERNAME
  value: {{ . | quote }}
{{- end }}
{{- with include "rollcast.caFile" (list "s3" (index . 0).Values.s3) }}
- name: AWS_CA_BUNDLE
  value: {{ . }}
{{- end }}
{{- end -}}

{{- define "rollcast.clientEnvFrom" -}}
{{- with include "rollcast.s3Secret" . }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end -}}

{{/* The Secrets of the user's own that slots need. */}}
{{- define "rollcast.secretsToCopy" -}}
{{- $kafka := .Values.kafka -}}
{{- $users := list (get $kafka.users "predictor" | default dict).secretName (get $kafka.users "autoscaler" | default dict).secretName -}}
{{- $shared := list $kafka.secret.name $kafka.ca.secretName .Values.s3.secret.name .Values.s3.ca.secretName -}}
{{- dict "items" (concat $users $shared | compact | uniq) | toJson -}}
{{- end -}}
