{{- /* The controller's arguments, as a list in YAML. Only what is not the controller's own default is passed. */}}
{{- define "reloader.arguments" -}}
{{- $r := .Values.reloader -}}
- --enable-leader-election
- --log-encoding=json
- --log-level={{ $r.logLevel | default "info" }}
- --metrics-addr=:9090
- --health-addr=:9440
{{- range $flag, $value := dict
  "log-format" $r.logFormat
  "resource-label-selector" $r.resourceLabelSelector
  "events-addr" $r.eventsAddr
  "settle-quiet" $r.settle.quiet
  "settle-max" $r.settle.max
  "owner-settle-timeout" $r.settle.owner
  "on-adoption" $r.onAdoption
  "default-service-account" $r.defaultServiceAccount
  "watch-label-selector" $r.watchLabelSelector
  "concurrent" $r.concurrent
  "auto-annotation" $r.custom_annotations.auto
  "configmap-annotation" $r.custom_annotations.configmap
  "configmap-auto-annotation" $r.custom_annotations.configmap_auto
  "secret-annotation" $r.custom_annotations.secret
  "secret-auto-annotation" $r.custom_annotations.secret_auto
  "auto-search-annotation" $r.custom_annotations.search
  "search-match-annotation" $r.custom_annotations.match
  "ignore-annotation" $r.custom_annotations.ignore
  "pause-deployment-annotation" $r.custom_annotations.pausePeriod
  "pause-deployment-time-annotation" $r.custom_annotations.pauseTime
  "webhook-url" $r.webhookUrl
}}
{{- with $value }}
- {{ printf "--%s=%v" $flag . | quote }}
{{- end }}
{{- end }}
{{- range $flag, $set := dict
  "auto-reload-all" $r.autoReloadAll
  "is-Argo-Rollouts" $r.isArgoRollouts
  "reload-on-create" $r.reloadOnCreate
  "reload-on-delete" $r.reloadOnDelete
  "sync-after-restart" $r.syncAfterRestart
  "no-cross-namespace-refs" $r.noCrossNamespaceRefs
  "enable-pprof" $r.enablePProf
  "enable-csi-integration" $r.enableCSIIntegration
}}
{{- if $set }}
- --{{ $flag }}=true
{{- end }}
{{- end }}
{{- if $r.enablePProf }}
- {{ printf "--pprof-addr=%s" $r.pprofAddr | quote }}
{{- end }}
{{- if ne ($r.reloadStrategy | default "default") "default" }}
- --reload-strategy={{ $r.reloadStrategy }}
{{- end }}
{{- if $r.ignoreSecrets }}
- --resources-to-ignore=secrets
{{- end }}
{{- if $r.ignoreConfigMaps }}
- --resources-to-ignore=configMaps
{{- end }}
{{- if $r.ignoreJobs }}
- --ignored-workload-types=jobs
{{- end }}
{{- if $r.ignoreCronJobs }}
- --ignored-workload-types=cronjobs
{{- end }}
{{- if $r.watchGlobally }}
{{- with $r.ignoreNamespaces }}
- {{ printf "--namespaces-to-ignore=%s" (nospace .) | quote }}
{{- end }}
{{- with $r.namespaceSelector }}
- {{ printf "--namespace-selector=%s" . | quote }}
{{- end }}
{{- else }}
- --namespaces={{ include "reloader.namespaces" . | fromJsonArray | join "," }}
{{- end }}
{{- range $r.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
