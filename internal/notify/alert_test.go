package notify

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestAlertFormats(t *testing.T) {
	restarted := Alert{Text: "restarted Deployment/apps/web: Secret/tls changed (tls.crt)"}
	failed := Alert{Failed: true, Text: "Deployment/apps/web not restarted"}
	markup := Alert{Text: `restart requested at "<!here> & *now*"`}
	tests := map[string]struct {
		sink  Sink
		alert Alert
		info  string
		mime  string
		body  string
	}{
		"slack": {Slack, restarted, "", "application/json",
			`{"attachments":[{"text":"restarted Deployment/apps/web: Secret/tls changed (tls.crt)","color":"good","author_name":"Reloader"}]}`},
		"slack, failed": {Slack, failed, "", "application/json",
			`{"attachments":[{"text":"Deployment/apps/web not restarted","color":"danger","author_name":"Reloader"}]}`},
		"slack, information": {Slack, failed, "<!here> prod", "application/json",
			`{"attachments":[{"text":"\u003c!here\u003e prod : Deployment/apps/web not restarted","color":"danger","author_name":"Reloader"}]}`},
		"slack, mention": {Slack, markup, "", "application/json",
			`{"attachments":[{"text":"restart requested at \"\u0026lt;!here\u0026gt; \u0026amp; *now*\"","color":"good","author_name":"Reloader"}]}`},
		"teams":       {Teams, restarted, "", "application/json; charset=utf-8", `{"text":"restarted Deployment/apps/web: Secret/tls changed (tls.crt)"}`},
		"Google Chat": {GoogleChat, failed, "prod", "application/json; charset=utf-8", `{"text":"prod : Deployment/apps/web not restarted"}`},
		"Google Chat, mention": {GoogleChat, markup, "", "application/json; charset=utf-8",
			`{"text":"restart requested at \"‹!here› \u0026 *now*\""}`},
		"raw":            {Plain, restarted, "*prod*", "text/plain; charset=utf-8", "prod : restarted Deployment/apps/web: Secret/tls changed (tls.crt)"},
		"anything else":  {"pager", failed, "", "text/plain; charset=utf-8", "Deployment/apps/web not restarted"},
		"none":           {"", markup, "", "text/plain; charset=utf-8", `restart requested at "<!here> & now"`},
		"raw, the same":  {Plain, failed, "prod", "text/plain; charset=utf-8", "prod : Deployment/apps/web not restarted"},
		"not by capital": {"Slack", failed, "", "text/plain; charset=utf-8", "Deployment/apps/web not restarted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.sink.format(test.alert, test.info)
			if diff := cmp.Diff([]string{test.mime, test.body}, []string{got.contentType, string(got.body)}); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLongAlertsAreCut(t *testing.T) {
	for _, unit := range []string{"a", "ä", "…", "🙂"} {
		text := shortened(strings.Repeat(unit, maxText+1))
		if len(text) > maxText || len(text) < maxText-8 || !utf8.ValidString(text) || !strings.HasSuffix(text, "…") {
			t.Errorf("%q: %d bytes, valid %t", unit, len(text), utf8.ValidString(text))
		}
	}
	if text := strings.Repeat("a", maxText); shortened(text) != text {
		t.Error("a text that fits is cut")
	}
}
