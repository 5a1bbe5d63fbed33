{{- /* What cannot be done together fails the render, and says why: set, it would promise what does not happen. */}}
{{- define "reloader.refused" -}}
{{- $r := .Values.reloader -}}
{{- $problems := list -}}
{{- if and $r.watchGlobally $r.namespaces -}}
{{- $problems = append $problems "reloader.namespaces is set, and all namespaces are watched: set reloader.watchGlobally to false" -}}
{{- end -}}
{{- if and (not $r.watchGlobally) $r.namespaceSelector -}}
{{- $problems = append $problems "reloader.namespaceSelector is set, and only some namespaces are watched: it needs reloader.watchGlobally" -}}
{{- end -}}
{{- if and $r.defaultServiceAccount (not $r.rbac.impersonate) -}}
{{- $problems = append $problems "reloader.defaultServiceAccount is set, and the controller may act as nobody: it needs reloader.rbac.impersonate" -}}
{{- end -}}
{{- with $problems -}}
{{- fail (printf "\n%s" (join "\n" .)) -}}
{{- end -}}
{{- end }}
