{{- /* What cannot be done fails the render, and says why: set, it would promise what does not happen. */}}
{{- define "reloader.refused" -}}
{{- $r := .Values.reloader -}}
{{- $notYet := list -}}
{{- range $key, $set := dict
  "isArgoRollouts" $r.isArgoRollouts
-}}
{{- if $set }}{{- $notYet = append $notYet (printf "reloader.%s" $key) -}}{{- end -}}
{{- end -}}
{{- $problems := list -}}
{{- range $notYet -}}
{{- $problems = append $problems (printf "%s is set, and not supported yet: it would have no effect" .) -}}
{{- end -}}
{{- if and $r.watchGlobally $r.namespaces -}}
{{- $problems = append $problems "reloader.namespaces is set, and all namespaces are watched: set reloader.watchGlobally to false" -}}
{{- end -}}
{{- if and (not $r.watchGlobally) $r.namespaceSelector -}}
{{- $problems = append $problems "reloader.namespaceSelector is set, and only some namespaces are watched: it needs reloader.watchGlobally" -}}
{{- end -}}
{{- with $problems -}}
{{- fail (printf "\n%s" (join "\n" .)) -}}
{{- end -}}
{{- end }}
