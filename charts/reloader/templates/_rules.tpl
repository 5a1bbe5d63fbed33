{{- /* The controller's rights on what it watches, as a list of rules: those of files/role.yaml, which `make generate` makes
from the code, without what the values leave out. Namespaces themselves are looked at only if all of them are watched. */}}
{{- define "reloader.rules" -}}
{{- $r := .Values.reloader -}}
{{- $without := list -}}
{{- if $r.ignoreSecrets -}}{{- $without = append $without "secrets" -}}{{- end -}}
{{- if $r.ignoreConfigMaps -}}{{- $without = append $without "configmaps" -}}{{- end -}}
{{- if $r.ignoreCronJobs -}}{{- $without = append $without "cronjobs" -}}{{- end -}}
{{- if and $r.ignoreJobs $r.ignoreCronJobs -}}{{- $without = append $without "jobs" -}}{{- end -}}
{{- if not $r.watchGlobally -}}{{- $without = append $without "namespaces" -}}{{- end -}}
{{- if not $r.enableCSIIntegration -}}{{- $without = concat $without (list "secretproviderclasses" "secretproviderclasspodstatuses") -}}{{- end -}}
{{- if not $r.rbac.impersonate -}}{{- $without = append $without "serviceaccounts" -}}{{- end -}}
{{- if not $r.isArgoRollouts -}}{{- $without = append $without "rollouts" -}}{{- end -}}
{{- if not $r.isOpenshift -}}{{- $without = concat $without (list "deploymentconfigs" "replicationcontrollers") -}}{{- end -}}
{{- $rules := list -}}
{{- range (.Files.Get "files/role.yaml" | fromYaml).rules -}}
{{- $resources := list -}}
{{- range .resources -}}
{{- if not (has . $without) -}}{{- $resources = append $resources . -}}{{- end -}}
{{- end -}}
{{- if $resources -}}
{{- $rules = append $rules (dict "apiGroups" .apiGroups "resources" $resources "verbs" .verbs) -}}
{{- end -}}
{{- end -}}
{{ toYaml $rules }}
{{- end }}

{{- define "reloader.subjects" -}}
- kind: ServiceAccount
  name: {{ include "reloader.serviceAccount" . | quote }}
  namespace: {{ include "reloader.namespace" . | quote }}
{{- end }}
