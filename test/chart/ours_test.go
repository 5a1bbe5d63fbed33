package chart

// ours are the rows of the keys that Stakater Reloader's chart does not have.
func ours() []row {
	const (
		rules     = "reloader: {prometheusRule: {enabled: true}}"
		dashboard = "reloader: {grafanaDashboard: {enabled: true}}"
	)
	return []row{
		{key: "enabled", value: "true", inert: true},
		{key: "reloader.rbac.impersonate", value: "false", less: "= impersonate"},
		{key: "reloader.rbac.aggregate", value: "false", less: "ClusterRole/reloader-policies-view: "},
		{key: "reloader.netpol.fluxNamespace", value: "other", with: "reloader: {eventsAddr: a, netpol: {enabled: true}}", more: "matchLabels.kubernetes.io/metadata.name = other"},
		{key: "reloader.eventsAddr", value: "http://example.test/", with: "reloader: {netpol: {enabled: true}}", more: "= --events-addr=http://example.test/"},
		{key: "reloader.settle.quiet", value: "1s", more: "= --settle-quiet=1s"},
		{key: "reloader.settle.max", value: "1m", more: "= --settle-max=1m"},
		{key: "reloader.settle.owner", value: "1m", more: "= --owner-settle-timeout=1m"},
		{key: "reloader.onAdoption", value: "Baseline", more: "= --on-adoption=Baseline"},
		{key: "reloader.defaultServiceAccount", value: "other", more: "= --default-service-account=other"},
		{key: "reloader.noCrossNamespaceRefs", value: "true", more: "= --no-cross-namespace-refs=true"},
		{key: "reloader.watchLabelSelector", value: "a=b", more: "= --watch-label-selector=a=b"},
		{key: "reloader.concurrent", value: "8", more: "= --concurrent=8"},
		{key: "reloader.extraArgs", value: "[--kube-api-qps=100]", more: "= --kube-api-qps=100"},
		{key: "reloader.prometheusRule.enabled", value: "true", more: "PrometheusRule/reloader: spec.groups[0].rules[0].alert = ReloaderRestartsFail"},
		{key: "reloader.prometheusRule.namespace", value: "other", with: rules, more: "PrometheusRule/reloader: metadata.namespace = other"},
		{key: "reloader.prometheusRule.labels", value: "{a: b}", with: rules, more: "PrometheusRule/reloader: metadata.labels.a = b"},
		{key: "reloader.prometheusRule.annotations", value: "{a: b}", with: rules, more: "PrometheusRule/reloader: metadata.annotations.a = b"},
		{key: "reloader.prometheusRule.alertLabels", value: "{severity: none}", with: rules, more: "spec.groups[0].rules[3].labels.severity = none"},
		{key: "reloader.grafanaDashboard.enabled", value: "true", more: "ConfigMap/reloader-dashboard: metadata.labels.grafana_dashboard = 1"},
		{key: "reloader.grafanaDashboard.namespace", value: "other", with: dashboard, more: "ConfigMap/reloader-dashboard: metadata.namespace = other"},
		{key: "reloader.grafanaDashboard.labels", value: "{a: b}", with: dashboard, more: "ConfigMap/reloader-dashboard: metadata.labels.a = b"},
		{key: "reloader.grafanaDashboard.annotations", value: "{a: b}", with: dashboard, more: "ConfigMap/reloader-dashboard: metadata.annotations.a = b"},
	}
}
