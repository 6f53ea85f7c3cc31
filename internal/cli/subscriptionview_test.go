package cli

import (
	"testing"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// TestWithoutValidation: what is said of a receiver that has not agreed. Who may not
// write subscriptions is not told the reason.
func TestWithoutValidation(t *testing.T) {
	t.Parallel()
	const again = "dockbell event-subscription validate -r contoso -n on-push"
	for _, tt := range []struct{ state, reason, want string }{
		{controlclient.SubscriptionReady, "", ""},
		{"Updating", "", ""},
		{controlclient.SubscriptionAwaiting, "open it until noon", "event subscription on-push sends nothing yet: open it until noon; to have the receiver asked again: " + again},
		{controlclient.SubscriptionAwaiting, "", "event subscription on-push sends nothing yet: its receiver took the handshake and did not answer it, and has ten minutes for opening the address that it was sent; " +
			"to have the receiver asked again: " + again},
		{controlclient.SubscriptionFailed, "nobody opened it", "event subscription on-push sends nothing: nobody opened it; next: " + again},
		{controlclient.SubscriptionFailed, "", "event subscription on-push sends nothing: its receiver has not agreed in time; next: " + again},
	} {
		s := controlclient.EventSubscription{Name: "on-push", Properties: controlclient.EventSubscriptionProperties{ProvisioningState: tt.state, StateReason: tt.reason}}
		if got := withoutValidation("contoso", s); got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.state, tt.reason, got, tt.want)
		}
	}
}

// TestParseEndpoint: where addresses lead, in their many forms.
func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://x/?a=b":         "WebHook https://x/?a=b",
		"HTTP://x:1":             "WebHook HTTP://x:1",
		"nats://x/a.b":           "NatsJetStream x:4222 a.b",
		"TLS://x:1,y/a.b":        "NatsJetStream x:1,y:4222 a.b TLS",
		"kafka://x,[::1]:5/t":    "Kafka x:9092,[::1]:5 t",
		"kafka://[::1],y/t":      "Kafka [::1]:9092,y:9092 t",
		"kafka://x:/t":           "",
		"kafka://:9092/t":        "",
		"kafka://x/":             "",
		"kafka://x/t/u":          "",
		"kafka://x/t?a=b":        "",
		"kafka://u:p@x/t":        "",
		"amqp://x/t":             "",
		"https://":               "",
		"x/y":                    "",
		"":                       "",
		"nats://x y/z":           "",
		"kafka://x:9092,y:9092,": "",
	} {
		got := ""
		if a, err := parseEndpoint(in, ""); err == nil {
			got = a.ofType + " " + a.url
			for i, s := range a.servers {
				if i > 0 {
					got += ","
				}
				got += s
			}
			if a.name != "" {
				got += " " + a.name
			}
			if a.secure {
				got += " TLS"
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
