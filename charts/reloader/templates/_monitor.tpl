{{- /* The endpoint of a ServiceMonitor or PodMonitor, .monitor. */}}
{{- define "reloader.endpoint" -}}
port: http-prom
path: /metrics
{{- with .interval }}
interval: {{ . | quote }}
{{- end }}
{{- with .timeout }}
scrapeTimeout: {{ . | quote }}
{{- end }}
{{- with .scheme }}
scheme: {{ . | quote }}
{{- end }}
{{- with .tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .bearerTokenFile }}
bearerTokenFile: {{ . | quote }}
{{- end }}
{{- with .bearerTokenSecret }}
bearerTokenSecret:
  {{- toYaml . | nindent 2 }}
{{- end }}
honorLabels: {{ .honorLabels }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
