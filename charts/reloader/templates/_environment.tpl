{{- /* The container's environment variables, as a list in YAML. */}}
{{- define "reloader.environment" -}}
{{- $d := .Values.reloader.deployment -}}
- name: RUNTIME_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.kubernetes.host }}
{{- /* What the kubelet would set for the Service of the API server. */}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ (include "reloader.apiServer" $ | fromYaml).host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ (include "reloader.apiServer" $ | fromYaml).port | quote }}
{{- end }}
- name: GOMEMLIMIT
  {{- if $d.gomemlimitOverride }}
  value: {{ $d.gomemlimitOverride | quote }}
  {{- else }}
  valueFrom:
    resourceFieldRef:
      containerName: manager
      resource: limits.memory
  {{- end }}
{{- with $d.gomaxprocsOverride }}
- name: GOMAXPROCS
  value: {{ . | quote }}
{{- end }}
{{- if .Values.reloader.enableMetricsByNamespace }}
- name: METRICS_COUNT_BY_NAMESPACE
  value: enabled
{{- end }}
{{- range $variable, $value := $d.env.open }}
- name: {{ $variable | quote }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- range $variable, $_ := $d.env.secret }}
- name: {{ $variable | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ include "reloader.fullname" $ | quote }}
      key: {{ $variable | quote }}
{{- end }}
{{- range $variable, $path := $d.env.field }}
- name: {{ $variable | quote }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path | quote }}
{{- end }}
{{- range $secret, $keys := $d.env.existing }}
{{- range $variable, $key := $keys }}
- name: {{ $variable | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ $key | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Host and port of kubernetes.host, which is a URL, or these two. */}}
{{- define "reloader.apiServer" -}}
{{- $url := urlParse (printf "https://%s" (trimPrefix "https://" .Values.kubernetes.host)) -}}
host: {{ $url.hostname | quote }}
port: {{ regexFind "[0-9]*$" (trimPrefix $url.hostname $url.host) | default 443 }}
{{- end }}
