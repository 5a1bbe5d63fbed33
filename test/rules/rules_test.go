package rules

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	root = "../.."
	page = "docs/design/stakater.md"
)

// rule is a row of the page.
type rule struct {
	what, here string
	// tests are package.Test or package.Test/case.
	tests []string
}

// pending reports whether the row says that there is nothing to test yet, or ever.
func (r rule) pending() bool {
	return strings.HasPrefix(r.here, "not yet") || strings.HasPrefix(r.here, "never")
}

var (
	reference = regexp.MustCompile("`([a-z]+\\.Test[^`]+)`")
	cell      = regexp.MustCompile(`[^\\]\|`)
)

// read reads the rows of all tables of the page.
func read(t *testing.T, path string) []rule {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rules []rule
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| rule |") {
			continue
		}
		cells := split(line)
		if len(cells) != 3 {
			t.Fatalf("%d cells, want 3: %s", len(cells), line)
		}
		r := rule{what: cells[0], here: cells[1]}
		for _, found := range reference.FindAllStringSubmatch(cells[2], -1) {
			r.tests = append(r.tests, found[1])
		}
		if named := strings.Count(cells[2], "`") / 2; named != len(r.tests) {
			t.Errorf("%s: %d of %d tests can be read", r.what, len(r.tests), named)
		}
		rules = append(rules, r)
	}
	return rules
}

// split cuts a row at the bars that are not escaped.
func split(row string) []string {
	row = strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|")
	var cells []string
	for {
		at := cell.FindStringIndex(row)
		if at == nil {
			return append(cells, strings.TrimSpace(row))
		}
		cells, row = append(cells, strings.TrimSpace(row[:at[1]-1])), row[at[1]:]
	}
}

func TestEveryRuleHasATest(t *testing.T) {
	rules := read(t, filepath.Join(root, page))
	if len(rules) == 0 {
		t.Fatal("no rules")
	}
	for _, r := range rules {
		if len(r.tests) == 0 && !r.pending() {
			t.Errorf("no test: %s", r.what)
		}
		for _, named := range r.tests {
			name, of, _ := strings.Cut(named, "/")
			pkg, function, _ := strings.Cut(name, ".")
			if !declares(t, folder(pkg), function, of) {
				t.Errorf("%s: there is no %s", r.what, named)
			}
		}
	}
}

// folder is where a package is, seen from here.
func folder(pkg string) string {
	switch pkg {
	case "integration", "chart", "rules":
		return filepath.Join(root, "test", pkg)
	case "reloader":
		return filepath.Join(root, "cmd", pkg)
	default:
		return filepath.Join(root, "internal", pkg)
	}
}

// declares reports whether a test file of the folder has this test, and the test this text for the name of a case.
func declares(t *testing.T, dir, name, of string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name {
				return of == "" || names(f.Body, of)
			}
		}
	}
	return false
}

// names reports whether a table in the code has a case of this name: as a key, or in a field called name.
func names(code ast.Node, of string) bool {
	found := false
	ast.Inspect(code, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			field, isField := pair.Key.(*ast.Ident)
			found = found || isText(pair.Key, of) || isField && field.Name == "name" && isText(pair.Value, of)
		}
		if row, ok := n.(*ast.CompositeLit); ok && len(row.Elts) > 0 {
			found = found || isText(row.Elts[0], of)
		}
		return !found
	})
	return found
}

func isText(expression ast.Expr, want string) bool {
	literal, ok := expression.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return false
	}
	text, err := strconv.Unquote(literal.Value)
	return err == nil && text == want
}

// All that Stakater Reloader 1.4 has is on the page, be it that it is not there yet.
func TestNothingIsLeftOut(t *testing.T) {
	var rows strings.Builder
	for _, r := range read(t, filepath.Join(root, page)) {
		rows.WriteString(r.what + "\n")
	}
	for _, name := range strings.Fields(`
		reloader.stakater.com/auto configmap.reloader.stakater.com/auto secret.reloader.stakater.com/auto
		secretproviderclass.reloader.stakater.com/auto
		configmap.reloader.stakater.com/reload secret.reloader.stakater.com/reload secretproviderclass.reloader.stakater.com/reload
		configmaps.exclude.reloader.stakater.com/reload secrets.exclude.reloader.stakater.com/reload
		secretproviderclasses.exclude.reloader.stakater.com/reload
		reloader.stakater.com/search reloader.stakater.com/match reloader.stakater.com/ignore
		deployment.reloader.stakater.com/pause-period deployment.reloader.stakater.com/paused-at
		reloader.stakater.com/rollout-strategy reloader.stakater.com/last-reloaded-from

		--auto-annotation --configmap-auto-annotation --secret-auto-annotation --configmap-annotation --secret-annotation
		--auto-search-annotation --search-match-annotation --ignore-annotation
		--pause-deployment-annotation --pause-deployment-time-annotation
		--log-format --log-level --webhook-url --reload-strategy --pprof-addr --enable-pprof --is-Argo-Rollouts
		--reload-on-create --reload-on-delete --auto-reload-all --enable-ha --sync-after-restart --enable-csi-integration
		--resources-to-ignore --ignored-workload-types --namespaces --namespaces-to-ignore --namespace-selector
		--resource-label-selector

		KUBERNETES_NAMESPACE RELOADER_NAMESPACE RELOADER_DEPLOYMENT_NAME POD_NAME POD_NAMESPACE METRICS_COUNT_BY_NAMESPACE
		ALERT_ON_RELOAD ALERT_SINK ALERT_WEBHOOK_URL ALERT_WEBHOOK_PROXY ALERT_ADDITIONAL_INFO KUBECONFIG

		reload_executed_total reload_executed_total_by_namespace action_total action_latency_seconds reconcile_total
		reconcile_duration_seconds errors_total retries_total skipped_total events_received_total events_processed_total
		workloads_scanned_total workloads_matched_total workqueue_depth workqueue_adds_total workqueue_latency_seconds
		rest_client_requests_total rest_client_request_duration_seconds go_* process_*
		Reloaded ReloadFail reloader-meta-info buildInfo reloaderOptions deploymentInfo /live /metrics
		slack teams gchat {"webhook":"update`) {
		if !strings.Contains(rows.String(), "`"+name+"`") && !strings.Contains(rows.String(), "`"+name+" ") {
			t.Errorf("no rule for %s", name)
		}
	}
}

// The chart takes every value of Stakater Reloader's chart: each is in its schema, and so has a test of what it does.
func TestEveryValueOfTheChartIsTaken(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "charts", "reloader", "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema property
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(`
		global imageRegistry imagePullSecrets
		. nameOverride fullnameOverride namespace
		kubernetes host
		image name repository tag digest pullPolicy
		reloader autoReloadAll isArgoRollouts reloadOnCreate reloadOnDelete syncAfterRestart enablePProf pprofAddr enableCSIIntegration
		reloader enableHA isOpenshift ignoreSecrets ignoreConfigMaps ignoreJobs ignoreCronJobs reloadStrategy logFormat logLevel
		reloader ignoreNamespaces namespaceSelector resourceLabelSelector webhookUrl watchGlobally namespaces readOnlyRootFileSystem
		reloader enableMetricsByNamespace matchLabels legacy.rbac
		reloader.custom_annotations configmap secret auto secret_auto configmap_auto search match ignore pausePeriod pauseTime
		reloader.deployment replicas revisionHistoryLimit hostUsers nodeSelector affinity tolerations topologySpreadConstraints
		reloader.deployment dnsConfig volumes volumeMounts securityContext containerSecurityContext annotations labels pod.annotations
		reloader.deployment env.open env.secret env.field env.existing resources priorityClassName runtimeClassName schedulerName
		reloader.deployment gomaxprocsOverride gomemlimitOverride automountServiceAccountToken
		reloader.deployment.livenessProbe timeoutSeconds failureThreshold periodSeconds successThreshold initialDelaySeconds
		reloader.deployment.readinessProbe timeoutSeconds failureThreshold periodSeconds successThreshold initialDelaySeconds
		reloader.service port labels annotations ipFamilyPolicy ipFamilies
		reloader.rbac enabled labels
		reloader.serviceAccount create labels annotations name automountServiceAccountToken
		reloader.serviceMonitor enabled namespace interval scheme tlsConfig bearerTokenFile timeout labels annotations honorLabels
		reloader.serviceMonitor metricRelabelings relabelings targetLabels
		reloader.podMonitor enabled namespace interval scheme tlsConfig bearerTokenSecret timeout labels annotations honorLabels
		reloader.podMonitor metricRelabelings relabelings podTargetLabels
		reloader.podDisruptionBudget enabled maxUnavailable minAvailable
		reloader.netpol enabled from to
		reloader.verticalPodAutoscaler enabled recommenders controlledResources controlledValues maxAllowed minAllowed
		reloader.verticalPodAutoscaler updatePolicy.updateMode`) {
		for i, name := range strings.Fields(line) {
			if i == 0 {
				continue
			}
			key := strings.TrimPrefix(strings.Fields(line)[0]+"."+name, "..")
			if !schema.has(strings.Split(key, ".")) {
				t.Errorf("no value %s", key)
			}
		}
	}
}

// property is a part of a JSON schema.
type property struct {
	Properties map[string]property `json:"properties"`
}

func (p property) has(path []string) bool {
	if len(path) == 0 {
		return true
	}
	next, found := p.Properties[path[0]]
	return found && next.has(path[1:])
}

func TestDeclares(t *testing.T) {
	for named, want := range map[string]bool{
		"TestDeclares/": true, "TestUndeclared/": false, "declares/": true,
		"TestDeclares/TestUndeclared/": true, "TestDeclares/no such case": false, "TestNothingIsLeftOut/%s": false,
	} {
		name, of, _ := strings.Cut(named, "/")
		if got := declares(t, ".", name, of); got != want {
			t.Errorf("%s: %t, want %t", named, got, want)
		}
	}
}
