package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// settings are the flags that say what a webhook does, how hard it is tried, and
// how its requests are proved.
type settings struct {
	uri, scope    string
	actions       wordList
	headers, tags pairList
	status        choiceValue

	attempts, ttl, timeout, perMinute number[int]
	order                             choiceValue

	format, handshake choiceValue
	typePrefix        string
	flatData          truth

	signatures                wordList
	ca, clientCert, clientKey string // names of files
}

func (s *settings) flags(cmd *cobra.Command) {
	s.actions.allowed, s.status.allowed = webhookActions, webhookStatuses
	s.format.allowed, s.handshake.allowed = webhookFormats, handshakes
	flags := cmd.Flags()
	flags.StringVar(&s.uri, "uri", "", "`URI` to ring, for example https://hooks.example.net/acr; kept secret")
	flags.Var(&s.actions, "actions", "what rings, separated by blanks: "+strings.Join(imageActions, " ")+"; and beyond ACR "+strings.Join(webhookActions[len(imageActions):], " "))
	flags.Var(&s.headers, "headers", `headers to send, as name=value separated by blanks, values kept secret; "" for none`)
	flags.StringVar(&s.scope, "scope", "", "which images ring: `repo:tag`, repo:*, or empty for all; repo alone is repo:latest")
	flags.Var(&s.status, "status", "whether it rings")
	flags.Var(&s.format, "format", "how an event is told: acr, which is so unless set, as a CloudEvent in one of its two modes, or as a service takes it")
	flags.Var(&s.handshake, "handshake", "whether the receiver is asked first, as CloudEvents has it; with such a format it is, unless set to none")
	flags.StringVar(&s.typePrefix, "event-type-prefix", "", "`prefix` of the types of CloudEvents, for example com.example.registry; Event Grid's types unless set")
	s.flatData.flag(flags, "flat-data", "whether CloudEvents name an image by repositoryName, imageTag, imageDigest and registryUrl too; false unless set")
	flags.Var(&s.tags, "tags", `tags of the webhook, as name=value separated by blanks; "" for none`)
	Group(flags, "What it does")

	s.order.allowed = orders
	flags.Var(&s.attempts, "max-delivery-attempts", "attempts for one event, 1 to 30; 30 unless set, and 1 is what ACR does")
	flags.Var(&s.ttl, "event-ttl", "`minutes` from an event until it is given up, 1 to 10080; 4320, three days, unless set")
	flags.Var(&s.timeout, "timeout", "`seconds` for one attempt, 1 to 30; 10 unless set")
	flags.Var(&s.order, "order", "what is sent one at a time and in order: the events of a tag, which is so unless set, those of a repository, or nothing")
	flags.Var(&s.perMinute, "max-per-minute", "the most attempts in a minute; 0 for no limit, which is so unless set")
	Group(flags, "How hard it is tried")

	s.signatures.allowed, s.signatures.optional = signatureStyles, true
	flags.Var(&s.signatures, "signature-headers", `signatures to send beside that of Standard Webhooks: github for X-Hub-Signature-256, flux for X-Signature; "" for none`)
	flags.StringVar(&s.ca, "ca-file", "", "PEM `file` of the authorities the receiver's certificate must be from, in place of the system's")
	flags.StringVar(&s.clientCert, "client-cert", "", "PEM `file` of a certificate to show the receiver")
	flags.StringVar(&s.clientKey, "client-key", "", "PEM `file` of that certificate's key; kept secret")
	Group(flags, "Proof")
}

// definition returns the body of a create; location is left to the caller.
func (s *settings) definition(given *pflag.FlagSet) (controlclient.WebhookCreate, error) {
	tls, err := s.tls(given)
	return controlclient.WebhookCreate{
		Tags: s.tags.pairs,
		Properties: controlclient.WebhookCreateProperties{
			ServiceURI:       s.uri,
			CustomHeaders:    s.headers.pairs,
			Status:           s.status.value,
			Scope:            s.scope,
			Actions:          s.actions.words,
			RetryPolicy:      s.retryPolicy(),
			SignatureHeaders: s.signatures.words,
			TLS:              tls,
			Format:           s.format.value,
			Handshake:        s.handshake.value,
			EventTypePrefix:  s.typePrefix,
			FlatData:         s.flatData.value != nil && *s.flatData.value,
		},
	}, err
}

// changes returns what the flags that were given change.
func (s *settings) changes(given *pflag.FlagSet) (controlclient.WebhookUpdate, error) {
	u := controlclient.WebhookUpdate{Tags: s.tags.pairs}
	u.Properties.CustomHeaders = s.headers.pairs
	u.Properties.Actions = s.actions.words
	if given.Changed("uri") {
		u.Properties.ServiceURI = &s.uri
	}
	if given.Changed("scope") {
		u.Properties.Scope = &s.scope
	}
	if given.Changed("status") {
		u.Properties.Status = &s.status.value
	}
	if given.Changed("format") {
		u.Properties.Format = &s.format.value
	}
	if given.Changed("handshake") {
		u.Properties.Handshake = &s.handshake.value
	}
	if given.Changed("event-type-prefix") {
		u.Properties.EventTypePrefix = &s.typePrefix
	}
	u.Properties.FlatData = s.flatData.value
	u.Properties.RetryPolicy = s.retryPolicy()
	u.Properties.SignatureHeaders = s.signatures.words
	var err error
	u.Properties.TLS, err = s.tls(given)
	return u, err
}

// retryPolicy returns what the flags say, nil if none was given.
func (s *settings) retryPolicy() *controlclient.RetryPolicy {
	p := controlclient.RetryPolicy{
		MaxDeliveryAttempts:      s.attempts.value,
		EventTimeToLiveInMinutes: s.ttl.value,
		TimeoutInSeconds:         s.timeout.value,
		MaxPerMinute:             s.perMinute.value,
	}
	if s.order.value != "" {
		p.Order = &s.order.value
	}
	if p == (controlclient.RetryPolicy{}) {
		return nil
	}
	return &p
}

// maxPEM bounds a file of certificates, in bytes.
const maxPEM = 1 << 20

// tls reads the files that the flags name; nil if none was given. Given empty,
// they clear what there was.
func (s *settings) tls(given *pflag.FlagSet) (*controlclient.WebhookTLS, error) {
	var t controlclient.WebhookTLS
	changed := false
	for _, f := range []struct {
		flag, path string
		content    *string
	}{
		{"ca-file", s.ca, &t.CACertificates},
		{"client-cert", s.clientCert, &t.ClientCertificate},
		{"client-key", s.clientKey, &t.ClientKey},
	} {
		if !given.Changed(f.flag) {
			continue
		}
		changed = true
		if f.path == "" {
			continue
		}
		content, err := readFile(f.path, maxPEM)
		if err != nil {
			return nil, Usage("--%s: %s", f.flag, err)
		}
		*f.content = string(content)
	}
	if !changed {
		return nil, nil
	}
	return &t, nil
}

// readFile returns the content of a file of at most max bytes.
func readFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err // without the name of the call
		}
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	defer f.Close()
	return readAtMost(f, path, max)
}
