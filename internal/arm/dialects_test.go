package arm_test

import (
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/outbound"
)

// TestDialects: what the answers tell of a webhook that is told of events in
// another way, and what is refused.
func TestDialects(t *testing.T) {
	t.Parallel()
	p := newPlaneWith(t, outbound.Policy{}, nil, &respondent{answer: outbound.Result{Class: outbound.Connect}})
	tr := &transcript{plane: p}
	change := func(properties string) { tr.exchange("PATCH", hook, `{"properties":{`+properties+`}}`) }
	tr.exchange("PUT", hook, `{"location":"westeurope","properties":{"serviceUri":"https://hooks.slack.example/services/T0/B0/s3cret","actions":["push"],"format":"Slack"}}`)
	change(`"format":"slak"`)
	change(`"format":"github"`)
	change(`"format":"github","serviceUri":"https://api.github.example/repos/contoso/deploy/dispatches","customHeaders":{"Authorization":"Bearer s3cret"}`)
	change(`"customHeaders":{"content-type":"text/plain"}`)
	change(`"format":"gitlab","serviceUri":"https://gitlab.example/api/v4/projects/9/trigger/pipeline?token=s3cret"`)
	change(`"format":"gitlab","serviceUri":"https://gitlab.example/api/v4/projects/9/trigger/pipeline?token=s3cret&ref=main"`)
	change(`"flatData":true`)
	change(`"format":"cloudevents","handshake":"none","eventTypePrefix":"com.example.","flatData":true`)
	change(`"format":"cloudevents","handshake":"none","eventTypePrefix":"com.example.container","flatData":true`)
	change(`"flatData":"yes"`)
	change(`"flatData":null`)
	tr.exchange("GET", hook, "")
	change(`"format":"slack"`)
	tr.exchange("PUT", hook, `{"location":"westeurope","properties":{"actions":["push"],"format":"cloudevents-binary","handshake":"none","eventTypePrefix":"com.example","flatData":true}}`)
	tr.exchange("PUT", hook, `{"location":"westeurope","properties":{"actions":["push"],"format":"acr","eventTypePrefix":"com.example"}}`)
	tr.exchange("PUT", hook, `{"location":"westeurope","properties":{"actions":["push"]}}`)
	golden(t, "dialects.txt", tr.String())
	for line := range strings.Lines(tr.String()) {
		if strings.Contains(line, "s3cret") && !strings.Contains(line, `"serviceUri"`) { // what was sent
			t.Errorf("a secret is shown: %s", line)
		}
	}
	if logged := p.logged.String(); strings.Contains(logged, "s3cret") {
		t.Errorf("logged:\n%s", logged)
	}
}
