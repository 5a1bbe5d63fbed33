{{- define "reloader.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name, and the chart's unless it is in that: a release reloader has pods reloader-<hash>-<id>. */}}
{{- define "reloader.fullname" -}}
{{- $name := include "reloader.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "reloader.namespace" -}}
{{ default .Release.Namespace .Values.namespace }}
{{- end }}

{{- /* Immutable in a cluster: these two labels never change. */}}
{{- define "reloader.selector" -}}
app.kubernetes.io/name: {{ include "reloader.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- with .Values.reloader.matchLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "reloader.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "reloader.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Metadata of an object: name, namespace, and the chart's labels with those of the list .labels, and .annotations. */}}
{{- define "reloader.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include "reloader.fullname" $root) | quote }}
{{- if not .wide }}
namespace: {{ .namespace | default (include "reloader.namespace" $root) | quote }}
{{- end }}
labels:
  {{- $labels := include "reloader.labels" $root | fromYaml }}
  {{- range .labels }}
  {{- $labels = merge (dict) (. | default dict) $labels }}
  {{- end }}
  {{- toYaml $labels | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "reloader.serviceAccount" -}}
{{- with .Values.reloader.serviceAccount -}}
{{ .name | default (ternary (include "reloader.fullname" $) "default" .create) }}
{{- end -}}
{{- end }}

{{- define "reloader.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $.Values.image.name -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" $repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion | toString) }}
{{- end -}}
{{- end }}

{{- define "reloader.hasService" -}}
{{- if or .Values.reloader.service .Values.reloader.serviceMonitor.enabled }}true{{ end -}}
{{- end }}

{{- /* The namespaces that are watched, as a list in JSON; none for all of them. */}}
{{- define "reloader.namespaces" -}}
{{- $namespaces := list -}}
{{- if not .Values.reloader.watchGlobally -}}
{{- $named := .Values.reloader.namespaces -}}
{{- if kindIs "string" $named -}}{{- $named = splitList "," $named -}}{{- end -}}
{{- range $named -}}
{{- with trim . -}}{{- $namespaces = append $namespaces . -}}{{- end -}}
{{- end -}}
{{- $namespaces = append $namespaces (include "reloader.namespace" .) | uniq | sortAlpha -}}
{{- end -}}
{{ $namespaces | toJson }}
{{- end }}

{{- /* The name of what is outside of namespaces: releases of one name may be in several of them. */}}
{{- define "reloader.clusterName" -}}
{{- $name := include "reloader.fullname" . -}}
{{- $namespace := include "reloader.namespace" . -}}
{{ eq $name $namespace | ternary $name (printf "%s-%s" $namespace $name) }}
{{- end }}
