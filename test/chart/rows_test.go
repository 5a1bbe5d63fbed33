package chart

// row is one key of the values: set to a value that is not its default, it changes what is rendered, or has no effect and never
// had.
type row struct {
	key string
	// value is YAML.
	value string
	// with are further values, without which the key does not count: YAML, also in what it is compared to.
	with string
	// more and less are parts of lines "Kind/name: path = value" that are there with the value only, or without it only.
	more, less string
	// inert says that nothing changes.
	inert bool
	// invalid is part of the message with which the API server refuses what is rendered.
	invalid string
}

// stakater are the rows of all keys of Stakater Reloader's chart.
func stakater() []row {
	return concat(topLevel(), behaviour(), annotations(), pod(), probes(), access(), monitors(), others())
}

func topLevel() []row {
	return []row{
		{key: "global.imageRegistry", value: "example.test", more: ".image = example.test/flux-reloader/reloader:v"},
		{key: "global.imagePullSecrets", value: "[one, {name: two}]", more: "imagePullSecrets[1].name = two"},
		{key: "nameOverride", value: "other", more: "Deployment/reloader-other: metadata.name = reloader-other"},
		{key: "fullnameOverride", value: "other", more: "Deployment/other: metadata.name = other"},
		{key: "namespace", value: "other", more: "Deployment/reloader: metadata.namespace = other"},
		{key: "kubernetes.host", value: "https://example.test", more: ".env[1].value = example.test"},
		{key: "image.name", value: "some/name", with: "global: {imageRegistry: example.test}", more: ".image = example.test/some/name:v"},
		{key: "image.repository", value: "example.test/it", more: ".image = example.test/it:v"},
		{key: "image.tag", value: "v9", more: ".image = ghcr.io/flux-reloader/reloader:v9"},
		{key: "image.digest", value: digest, more: ".image = ghcr.io/flux-reloader/reloader@" + digest},
		{key: "image.pullPolicy", value: "Always", more: ".imagePullPolicy = Always"},
	}
}

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func behaviour() []row {
	return []row{
		{key: "reloader.autoReloadAll", value: "true", more: "= --auto-reload-all=true"},
		{key: "reloader.isArgoRollouts", value: "true", more: "= --is-Argo-Rollouts=true"},
		{key: "reloader.isOpenshift", value: "true", more: "resources[0] = deploymentconfigs", less: "securityContext.runAsUser = "},
		{key: "reloader.ignoreSecrets", value: "true", more: "= --resources-to-ignore=secrets", less: "ClusterRole/reloader: rules[0].resources[2] = secrets"},
		{key: "reloader.ignoreConfigMaps", value: "true", more: "= --resources-to-ignore=configMaps", less: "ClusterRole/reloader: rules[0].resources[0] = configmaps"},
		{key: "reloader.ignoreJobs", value: "true", with: "reloader: {ignoreCronJobs: true}", more: "= --ignored-workload-types=jobs", less: ".resources[0] = jobs"},
		{key: "reloader.ignoreCronJobs", value: "true", more: "= --ignored-workload-types=cronjobs", less: ".resources[0] = cronjobs"},
		{key: "reloader.reloadOnCreate", value: "true", more: "= --reload-on-create=true"},
		{key: "reloader.reloadOnDelete", value: "true", more: "= --reload-on-delete=true"},
		{key: "reloader.syncAfterRestart", value: "true", more: "= --sync-after-restart=true"},
		{key: "reloader.reloadStrategy", value: "env-vars", more: "= --reload-strategy=env-vars"},
		{key: "reloader.ignoreNamespaces", value: "a, b", more: "= --namespaces-to-ignore=a,b"},
		{key: "reloader.namespaceSelector", value: `"env in (a,b)"`, more: "= --namespace-selector=env in (a,b)"},
		{key: "reloader.resourceLabelSelector", value: "a=b", more: "= --resource-label-selector=a=b"},
		{key: "reloader.logFormat", value: "json", more: "= --log-format=json"},
		{key: "reloader.logLevel", value: "debug", more: "= --log-level=debug"},
		{key: "reloader.watchGlobally", value: "false", more: "Role/reloader: metadata.namespace = reloader", less: "ClusterRole/reloader: "},
		{key: "reloader.namespaces", value: "[a, b]", with: "reloader: {watchGlobally: false}", more: "= --namespaces=a,b,reloader"},
		{key: "reloader.enableHA", value: "true", more: "podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey = kubernetes.io/hostname"},
		{key: "reloader.enablePProf", value: "true", more: "= --enable-pprof=true"},
		{key: "reloader.pprofAddr", value: "':6061'", with: "reloader: {enablePProf: true}", more: "= --pprof-addr=:6061"},
		{key: "reloader.enableCSIIntegration", value: "true", more: "= --enable-csi-integration=true"},
		{key: "reloader.webhookUrl", value: "http://example.test", more: "= --webhook-url=http://example.test"},
		{key: "reloader.readOnlyRootFileSystem", value: "false", less: "containers[0].securityContext.readOnlyRootFilesystem = true"},
		{key: "reloader.enableMetricsByNamespace", value: "true", more: ".name = METRICS_COUNT_BY_NAMESPACE"},
		{key: "reloader.legacy.rbac", value: "true", inert: true},
		{key: "reloader.matchLabels", value: "{a: b}", more: "spec.selector.matchLabels.a = b"},
	}
}

func annotations() []row {
	key := func(name string) string { return "reloader.custom_annotations." + name }
	return []row{
		{key: key("configmap"), value: "a.test/b", more: "= --configmap-annotation=a.test/b"},
		{key: key("secret"), value: "a.test/b", more: "= --secret-annotation=a.test/b"},
		{key: key("auto"), value: "a.test/b", more: "= --auto-annotation=a.test/b"},
		{key: key("secret_auto"), value: "a.test/b", more: "= --secret-auto-annotation=a.test/b"},
		{key: key("configmap_auto"), value: "a.test/b", more: "= --configmap-auto-annotation=a.test/b"},
		{key: key("search"), value: "a.test/b", more: "= --auto-search-annotation=a.test/b"},
		{key: key("match"), value: "a.test/b", more: "= --search-match-annotation=a.test/b"},
		{key: key("ignore"), value: "a.test/b", more: "= --ignore-annotation=a.test/b"},
		{key: key("pausePeriod"), value: "a.test/b", more: "= --pause-deployment-annotation=a.test/b"},
		{key: key("pauseTime"), value: "a.test/b", more: "= --pause-deployment-time-annotation=a.test/b"},
	}
}

func pod() []row {
	key := func(name string) string { return "reloader.deployment." + name }
	const spec = "Deployment/reloader: spec.template.spec."
	const container = spec + "containers[0]."
	return []row{
		{key: key("replicas"), value: "3", with: "reloader: {enableHA: true}", more: "Deployment/reloader: spec.replicas = 3"},
		{key: key("revisionHistoryLimit"), value: "5", more: "Deployment/reloader: spec.revisionHistoryLimit = 5"},
		{key: key("hostUsers"), value: "false", more: spec + "hostUsers = false"},
		{key: key("nodeSelector"), value: "{a: b}", more: spec + "nodeSelector.a = b"},
		{key: key("affinity"), value: "{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}",
			with: "reloader: {enableHA: true}", more: "nodeSelectorTerms[0].matchExpressions[0].key = a", less: "podAntiAffinity"},
		{key: key("tolerations"), value: "[{key: a, operator: Exists}]", more: spec + "tolerations[0].key = a"},
		{key: key("topologySpreadConstraints"), value: "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]", more: spec + "topologySpreadConstraints[0].topologyKey = zone"},
		{key: key("dnsConfig"), value: "{nameservers: [10.0.0.10]}", more: spec + "dnsConfig.nameservers[0] = 10.0.0.10"},
		{key: key("volumes"), value: "[{name: v, emptyDir: {}}]", more: spec + "volumes[1].name = v"},
		{key: key("volumeMounts"), value: "[{name: tmp, mountPath: /v}]", more: container + "volumeMounts[1].mountPath = /v"},
		{key: key("securityContext"), value: "{fsGroup: 5}", more: spec + "securityContext.fsGroup = 5"},
		{key: key("containerSecurityContext"), value: "{privileged: false}", more: container + "securityContext.privileged = false"},
		{key: key("annotations"), value: "{a: b}", more: "Deployment/reloader: metadata.annotations.a = b"},
		{key: key("labels"), value: "{a: b}", more: "Deployment/reloader: spec.template.metadata.labels.a = b"},
		{key: key("pod.annotations"), value: "{a: b}", more: "Deployment/reloader: spec.template.metadata.annotations.a = b"},
		{key: key("env.open"), value: "{A: 1}", more: container + "env[2].value = 1"},
		{key: key("env.secret"), value: "{A: b}", more: "Secret/reloader: data.A = Yg=="},
		{key: key("env.field"), value: "{A: metadata.name}", more: container + "env[2].valueFrom.fieldRef.fieldPath = metadata.name"},
		{key: key("env.existing"), value: "{other: {A: key}}", more: container + "env[2].valueFrom.secretKeyRef.key = key"},
		{key: key("resources"), value: "{limits: {memory: 1Gi}}", more: container + "resources.limits.memory = 1Gi"},
		{key: key("priorityClassName"), value: "system-cluster-critical", more: spec + "priorityClassName = system-cluster-critical"},
		{key: key("runtimeClassName"), value: "gvisor", more: spec + "runtimeClassName = gvisor"},
		{key: key("schedulerName"), value: "other", more: spec + "schedulerName = other"},
		{key: key("gomaxprocsOverride"), value: "2", more: container + "env[2].name = GOMAXPROCS"},
		{key: key("gomemlimitOverride"), value: "100MiB", more: container + "env[1].value = 100MiB"},
		{key: key("automountServiceAccountToken"), value: "false", more: spec + "automountServiceAccountToken = false"},
	}
}

func probes() []row {
	var rows []row
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		for _, field := range []string{"timeoutSeconds", "failureThreshold", "periodSeconds", "initialDelaySeconds"} {
			rows = append(rows, row{key: "reloader.deployment." + probe + "." + field, value: "7", more: "." + probe + "." + field + " = 7"})
		}
	}
	return append(rows,
		row{key: "reloader.deployment.livenessProbe.successThreshold", value: "2", more: ".livenessProbe.successThreshold = 2", invalid: "must be 1"},
		row{key: "reloader.deployment.readinessProbe.successThreshold", value: "2", more: ".readinessProbe.successThreshold = 2"},
	)
}

func access() []row {
	const service = "reloader: {service: {port: 80}}"
	return []row{
		{key: "reloader.service.port", value: "81", more: "Service/reloader: spec.ports[0].port = 81"},
		{key: "reloader.service.labels", value: "{a: b}", with: service, more: "Service/reloader: metadata.labels.a = b"},
		{key: "reloader.service.annotations", value: "{a: b}", with: service, more: "Service/reloader: metadata.annotations.a = b"},
		{key: "reloader.service.ipFamilyPolicy", value: "PreferDualStack", with: service, more: "Service/reloader: spec.ipFamilyPolicy = PreferDualStack"},
		{key: "reloader.service.ipFamilies", value: "[IPv4]", with: service, more: "Service/reloader: spec.ipFamilies[0] = IPv4"},
		{key: "reloader.rbac.enabled", value: "false", less: "ClusterRoleBinding/reloader: "},
		{key: "reloader.rbac.labels", value: "{a: b}", more: "ClusterRole/reloader: metadata.labels.a = b"},
		{key: "reloader.serviceAccount.create", value: "false", less: "ServiceAccount/reloader: "},
		{key: "reloader.serviceAccount.labels", value: "{a: b}", more: "ServiceAccount/reloader: metadata.labels.a = b"},
		{key: "reloader.serviceAccount.annotations", value: "{a: b}", more: "ServiceAccount/reloader: metadata.annotations.a = b"},
		{key: "reloader.serviceAccount.name", value: "other", more: "ClusterRoleBinding/reloader: subjects[0].name = other"},
		{key: "reloader.serviceAccount.automountServiceAccountToken", value: "false", more: "ServiceAccount/reloader: automountServiceAccountToken = false"},
	}
}

func monitors() []row {
	var rows []row
	for kind, names := range map[string]struct{ values, endpoint string }{
		"ServiceMonitor": {"serviceMonitor", "spec.endpoints[0]."}, "PodMonitor": {"podMonitor", "spec.podMetricsEndpoints[0]."},
	} {
		key, object := "reloader."+names.values+".", kind+"/reloader: "
		endpoint := object + names.endpoint
		enabled := "reloader: {" + names.values + ": {enabled: true}}"
		rows = append(rows,
			row{key: key + "enabled", value: "true", more: object + "metadata.name = reloader"},
			row{key: key + "namespace", value: "other", with: enabled, more: object + "metadata.namespace = other"},
			row{key: key + "interval", value: "30s", with: enabled, more: endpoint + "interval = 30s"},
			row{key: key + "scheme", value: "https", with: enabled, more: endpoint + "scheme = https"},
			row{key: key + "tlsConfig", value: "{insecureSkipVerify: true}", with: enabled, more: endpoint + "tlsConfig.insecureSkipVerify = true"},
			row{key: key + "timeout", value: "5s", with: enabled, more: endpoint + "scrapeTimeout = 5s"},
			row{key: key + "labels", value: "{a: b}", with: enabled, more: object + "metadata.labels.a = b"},
			row{key: key + "annotations", value: "{a: b}", with: enabled, more: object + "metadata.annotations.a = b"},
			row{key: key + "honorLabels", value: "false", with: enabled, more: endpoint + "honorLabels = false"},
			row{key: key + "metricRelabelings", value: "[{action: drop, regex: go_.*}]", with: enabled, more: endpoint + "metricRelabelings[0].action = drop"},
			row{key: key + "relabelings", value: "[{action: drop, regex: a}]", with: enabled, more: endpoint + "relabelings[0].action = drop"},
		)
	}
	service, pod := "reloader: {serviceMonitor: {enabled: true}}", "reloader: {podMonitor: {enabled: true}}"
	return append(rows,
		row{key: "reloader.serviceMonitor.bearerTokenFile", value: "/token", with: service, more: "bearerTokenFile = /token"},
		row{key: "reloader.serviceMonitor.targetLabels", value: "[a]", with: service, more: "spec.targetLabels[0] = a"},
		row{key: "reloader.podMonitor.bearerTokenSecret", value: "{name: a, key: b}", with: pod, more: "bearerTokenSecret.key = b"},
		row{key: "reloader.podMonitor.podTargetLabels", value: "[a]", with: pod, more: "spec.podTargetLabels[0] = a"},
	)
}

func others() []row {
	const (
		budget  = "reloader: {podDisruptionBudget: {enabled: true}}"
		network = "reloader: {netpol: {enabled: true}}"
		scaler  = "reloader: {verticalPodAutoscaler: {enabled: true}}"
		policy  = "VerticalPodAutoscaler/reloader: spec.resourcePolicy.containerPolicies[0]."
	)
	return []row{
		{key: "reloader.podDisruptionBudget.enabled", value: "true", more: "PodDisruptionBudget/reloader: spec.maxUnavailable = 1"},
		{key: "reloader.podDisruptionBudget.maxUnavailable", value: "0", with: "reloader: {podDisruptionBudget: {enabled: true, minAvailable: 1}}", more: "spec.maxUnavailable = 0", less: "spec.minAvailable"},
		{key: "reloader.podDisruptionBudget.minAvailable", value: "50%", with: budget, more: "spec.minAvailable = 50%", less: "spec.maxUnavailable"},
		{key: "reloader.netpol.enabled", value: "true", more: "NetworkPolicy/reloader: spec.egress[1].ports[0].port = 443"},
		{key: "reloader.netpol.from", value: "[{podSelector: {matchLabels: {a: b}}}]", with: network, more: "spec.ingress[0].from[0].podSelector.matchLabels.a = b"},
		{key: "reloader.netpol.to", value: "[{ipBlock: {cidr: 10.0.0.1/32}}]", with: network, more: "spec.egress[1].to[0].ipBlock.cidr = 10.0.0.1/32"},
		{key: "reloader.verticalPodAutoscaler.enabled", value: "true", more: "VerticalPodAutoscaler/reloader: spec.targetRef.name = reloader"},
		{key: "reloader.verticalPodAutoscaler.recommenders", value: "[{name: other}]", with: scaler, more: "spec.recommenders[0].name = other"},
		{key: "reloader.verticalPodAutoscaler.controlledResources", value: "[memory]", with: scaler, more: policy + "controlledResources[0] = memory"},
		{key: "reloader.verticalPodAutoscaler.controlledValues", value: "RequestsOnly", with: scaler, more: policy + "controlledValues = RequestsOnly"},
		{key: "reloader.verticalPodAutoscaler.maxAllowed", value: "{memory: 1Gi}", with: scaler, more: policy + "maxAllowed.memory = 1Gi"},
		{key: "reloader.verticalPodAutoscaler.minAllowed", value: "{memory: 1Mi}", with: scaler, more: policy + "minAllowed.memory = 1Mi"},
		{key: "reloader.verticalPodAutoscaler.updatePolicy.updateMode", value: "\"Off\"", with: scaler, more: "spec.updatePolicy.updateMode = Off"},
	}
}
