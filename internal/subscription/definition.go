package subscription

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sink"
)

// The limits of Event Grid.
const (
	minName, maxName = 3, 64

	maxSubscriptions = 500 // of a registry

	maxAttempts = 30
	maxTTL      = 24 * time.Hour

	defaultMaxEvents, maxMaxEvents     = 1, 5000
	defaultPreferredKB, maxPreferredKB = 64, 1024

	maxAttributes     = 10
	maxAttributeValue = 4096 // bytes
)

// The limits that Event Grid does not tell of.
const (
	maxLabels     = 50
	maxLabelBytes = 256
)

// timeout is how long a receiver may take, as Event Grid has it.
const timeout = 30 * time.Second

// invalid is a fault of whoever described a subscription, with Event Grid's code.
func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode("InvalidRequest")
}

// clip cuts what strangers wrote to what a sentence can hold.
func clip(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// nameKey is what names are compared by.
func nameKey(name string) string { return strings.ToLower(name) }

func checkName(name string) error {
	letters := func(r rune) bool {
		return r == '-' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	switch {
	case strings.ContainsFunc(name, func(r rune) bool { return !letters(r) }):
		return invalid("the name %q of the event subscription has a character that is no letter, digit or dash: use 3 to 64 of these, for example on-push", clip(name))
	case len(name) < minName, len(name) > maxName:
		return invalid("the name %q of the event subscription has %d characters: use 3 to 64 letters, digits and dashes, for example on-push", clip(name), len(name))
	}
	return nil
}

// record is a subscription with all its parts.
type record struct {
	Subscription
	whole Destination // Subscription.Destination, with what is write-only

	perMinute int // requests that the receiver allows; 0: any number
	version   int64

	// tokenHash is of what a person confirms the handshake with; nil for none.
	tokenHash  []byte
	tokenUntil time.Time
}

// apply returns r as a definition has it.
func (d Definition) apply(r record) (record, error) {
	if d.Destination == nil && r.ID == 0 {
		return record{}, invalid("the event subscription has no destination: give properties.destination, for example a WebHook with an endpointUrl")
	}
	labels, none := d.Labels, d.DeadLetters
	schema := cmp.Or(d.Schema, EventGridSchema)
	if d.Schema == "" && d.Destination != nil && d.Destination.Type != WebHook {
		schema = CloudEventSchema
	}
	attempts, ttl := cmp.Or(d.MaxAttempts, maxAttempts), cmp.Or(d.TTL, maxTTL)
	destination := d.Destination
	if destination != nil { // of what is there, only what is hidden and the address stay
		whole := *destination
		whole.MaxEvents, whole.PreferredKB = cmp.Or(whole.MaxEvents, defaultMaxEvents), cmp.Or(whole.PreferredKB, defaultPreferredKB)
		if whole.Attributes == nil {
			whole.Attributes = []Attribute{}
		}
		destination = &whole
	}
	return Change{
		Destination: destination, Filter: &d.Filter, Labels: &labels, Schema: &schema, ExpiresAt: &d.ExpiresAt,
		MaxAttempts: &attempts, TTL: &ttl, DeadLetters: &none,
	}.apply(r)
}

// apply returns r with the change made, and everything of it checked that the
// change gives.
func (c Change) apply(r record) (record, error) {
	if c.Destination != nil {
		whole, err := c.Destination.over(r.whole)
		if err != nil {
			return record{}, err
		}
		if err := whole.check(); err != nil {
			return record{}, err
		}
		r.whole, r.Destination = whole, whole.shown()
	}
	set(&r.Filter, c.Filter)
	set(&r.Labels, c.Labels)
	set(&r.Schema, c.Schema)
	set(&r.MaxAttempts, c.MaxAttempts)
	set(&r.TTL, c.TTL)
	set(&r.DeadLetters, c.DeadLetters)
	set(&r.ExpiresAt, c.ExpiresAt)
	r.ExpiresAt = r.ExpiresAt.UTC()
	return r, r.check(c)
}

// set sets a member to a value, if there is one.
func set[T any](member *T, value *T) {
	if value != nil {
		*member = *value
	}
}

// check checks what c gave of r, and what of r depends on each other. An
// expiration that was in the future when it was given stays right.
func (r record) check(c Change) error {
	if c.Filter != nil {
		if err := r.Filter.Check(); err != nil {
			return err
		}
	}
	if c.ExpiresAt != nil && !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(time.Now()) {
		return invalid("Invalid expiration time: %s is not in the future; leave expirationTimeUtc out for a subscription that does not expire", r.ExpiresAt.Format(time.RFC3339))
	}
	switch {
	case r.Schema != EventGridSchema && r.Schema != CloudEventSchema:
		return invalid("eventDeliverySchema %q is none of a registry's events: use EventGridSchema or CloudEventSchemaV1_0", clip(string(r.Schema)))
	case r.Schema != CloudEventSchema && r.whole.Broker != nil:
		return invalid("a destination of type %s takes CloudEvents: use the eventDeliverySchema CloudEventSchemaV1_0, or leave it out", r.whole.Type)
	case r.MaxAttempts < 1 || r.MaxAttempts > maxAttempts:
		return invalid("retryPolicy.maxDeliveryAttempts cannot be %d: use 1 to %d", r.MaxAttempts, maxAttempts)
	case r.TTL < time.Minute || r.TTL > maxTTL || r.TTL%time.Minute != 0:
		return invalid("retryPolicy.eventTimeToLiveInMinutes cannot be %s: use 1 to %d minutes", r.TTL, maxTTL/time.Minute)
	case len(r.Labels) > maxLabels:
		return invalid("the event subscription has %d labels: it may have %d", len(r.Labels), maxLabels)
	}
	for _, label := range r.Labels {
		if label == "" || len(label) > maxLabelBytes || !utf8.ValidString(label) {
			return invalid("the label %q has %d bytes: labels have 1 to %d", clip(label), len(label), maxLabelBytes)
		}
	}
	return r.DeadLetters.check()
}

// check checks where dead letters go. The name is that of a folder, so it is held
// to what Azure allows, which leads nowhere else.
func (d *DeadLetterStore) check() error {
	if d == nil {
		return nil
	}
	const rule = "use 3 to 63 lower-case letters, digits and single dashes, for example dead-letters"
	odd := func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	name := d.Container
	switch {
	case name == "":
		return invalid("deadLetterDestination has no blobContainerName, the folder for files of dead letters: %s", rule)
	case len(name) < 3 || len(name) > 63 || strings.ContainsFunc(name, odd) || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--"):
		return invalid("blobContainerName %q is none: %s", clip(name), rule)
	case len(d.ResourceID) > 1024:
		return invalid("the resourceId of deadLetterDestination has %d bytes: it may have 1024", len(d.ResourceID))
	}
	return nil
}

// over returns d in the place of old: what is hidden in d, or left out, is what old
// has. What is secret goes to no other receiver than it was given for.
func (d Destination) over(old Destination) (Destination, error) {
	d.Type = cmp.Or(d.Type, old.Type)
	d.BaseURL = ""
	same := d.Type == old.Type
	if d.Type == WebHook && same {
		d.URL = cmp.Or(d.URL, old.URL)
	}
	if same {
		d.MaxEvents, d.PreferredKB = cmp.Or(d.MaxEvents, old.MaxEvents), cmp.Or(d.PreferredKB, old.PreferredKB)
		d.MinTLS = cmp.Or(d.MinTLS, old.MinTLS)
	}
	if d.Attributes == nil {
		if d.Attributes = old.Attributes; !d.sameReceiver(old) && slices.ContainsFunc(old.Attributes, func(a Attribute) bool { return a.Secret }) {
			return Destination{}, invalid("some delivery attributes are secret, and the endpoint is to be at another host: give deliveryAttributeMappings too, with their values or without these")
		}
	}
	d.Attributes = slices.Clone(d.Attributes)
	for i, a := range d.Attributes {
		if !a.Secret || a.Value != Hidden {
			continue
		}
		at := slices.IndexFunc(old.Attributes, func(o Attribute) bool { return strings.EqualFold(o.Name, a.Name) && o.Secret })
		if at < 0 || !d.sameReceiver(old) {
			return Destination{}, invalid("the value of the delivery attribute %s is %q, which stands for the one it has, and it has none for this endpoint: give the value", clip(a.Name), Hidden)
		}
		d.Attributes[i].Value = old.Attributes[at].Value
	}
	if d.Broker != nil {
		b := *d.Broker
		if d.sameReceiver(old) { // credentials are for those they were given for
			for _, secret := range []struct{ given, was *string }{
				{&b.Password, &old.Broker.Password}, {&b.Token, &old.Broker.Token}, {&b.Creds, &old.Broker.Creds},
			} {
				if *secret.given == Hidden {
					*secret.given = *secret.was
				}
			}
			if b.TLS == nil && b.Secure {
				b.TLS = old.Broker.TLS
			}
		}
		if slices.Contains([]string{b.Password, b.Token, b.Creds}, Hidden) {
			return Destination{}, invalid("a credential is %q, which stands for the one there is, and there is none for these servers: give it", Hidden)
		}
		d.Broker = &b
	}
	return d, nil
}

// sameReceiver reports whether d reaches whom old reached, who may be shown the
// secrets that were made for them.
func (d Destination) sameReceiver(old Destination) bool {
	if d.Type != old.Type {
		return false
	}
	if d.Broker != nil {
		return old.Broker != nil && slices.Equal(d.Broker.Servers, old.Broker.Servers)
	}
	return outbound.HostOf(d.URL) == outbound.HostOf(old.URL)
}

// check checks a destination but for whether it may be rung.
func (d *Destination) check() error {
	switch {
	case d.Type != WebHook && d.Type != NatsJetStream && d.Type != Kafka:
		return invalid("a destination of type %q is not offered: use WebHook, NatsJetStream or Kafka", clip(string(d.Type)))
	case (d.Type == WebHook) != (d.Broker == nil):
		return invalid("a destination of type %s has the properties of another", d.Type)
	case d.Type == WebHook && d.URL == "":
		return invalid("Supplied URL is invalid. It cannot be null or empty and should be a proper HTTPS URL: give destination.properties.endpointUrl")
	case d.MaxEvents < 0 || d.MaxEvents > maxMaxEvents:
		return invalid("maxEventsPerBatch cannot be %d: use 1 to %d", d.MaxEvents, maxMaxEvents)
	case d.PreferredKB < 0 || d.PreferredKB > maxPreferredKB:
		return invalid("preferredBatchSizeInKilobytes cannot be %d: use 1 to %d", d.PreferredKB, maxPreferredKB)
	case d.MinTLS != "" && !slices.Contains([]string{"1.0", "1.1", "1.2"}, d.MinTLS):
		return invalid("minimumTlsVersionAllowed cannot be %q: use 1.0, 1.1 or 1.2; below 1.2 there is none", clip(d.MinTLS))
	case len(d.Attributes) > maxAttributes:
		return invalid("there are %d delivery attributes: there may be %d", len(d.Attributes), maxAttributes)
	}
	if d.Type == WebHook {
		d.MaxEvents, d.PreferredKB = cmp.Or(d.MaxEvents, defaultMaxEvents), cmp.Or(d.PreferredKB, defaultPreferredKB)
	} else {
		d.MaxEvents, d.PreferredKB = 0, 0
		if err := d.Broker.check(d.Type); err != nil {
			return err
		}
	}
	for i, a := range d.Attributes {
		if err := a.check(); err != nil {
			return err
		}
		if d.Broker != nil && a.SourceField == "" {
			field := sink.Field{Name: http.CanonicalHeaderKey(a.Name), Value: a.Value}
			if err := sink.CheckField(d.Broker.server(d.Type).Kind, field); err != nil {
				return invalid("%s", fault.As(err).Message)
			}
		}
		for _, b := range d.Attributes[:i] {
			if strings.EqualFold(a.Name, b.Name) {
				return invalid("there are two delivery attributes %s: leave one out", clip(a.Name))
			}
		}
	}
	return nil
}

// reserved are header fields that are the sender's own.
var reserved = []string{
	"accept-encoding", "connection", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "origin",
	"user-agent",
}

// reservedPrefixes begin the names of others.
var reservedPrefixes = []string{"aeg-", "ce-", "ce_", "dockbell-", "nats-", "proxy-", "webhook-"}

// check checks a delivery attribute. No message repeats a value.
func (a Attribute) check() error {
	key := strings.ToLower(a.Name)
	switch {
	case !outbound.IsToken(a.Name) || len(a.Name) > 256:
		return invalid("%q is no name for a delivery attribute: use letters, digits and dashes, for example X-Env", clip(a.Name))
	case slices.Contains(reserved, key) || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }):
		return invalid("the delivery attribute %s cannot be set: the sender uses it itself; choose another name, for example X-%s", clip(a.Name), clip(http.CanonicalHeaderKey(a.Name)))
	case a.SourceField != "" && (a.Value != "" || a.Secret):
		return invalid("the delivery attribute %s has both a value and a sourceField: give one of them", clip(a.Name))
	case len(a.SourceField) > maxAttributeValue:
		return invalid("the sourceField of the delivery attribute %s has %d bytes: it may have %d", clip(a.Name), len(a.SourceField), maxAttributeValue)
	case a.SourceField != "":
		return nil
	case len(a.Value) > maxAttributeValue:
		return invalid("the value of the delivery attribute %s has %d bytes: it may have %d", clip(a.Name), len(a.Value), maxAttributeValue)
	case !outbound.IsFieldValue(a.Value):
		return invalid("the value of the delivery attribute %s has a line break or another control character: leave it out", clip(a.Name))
	}
	return nil
}

// check checks how a broker is reached.
func (b *Broker) check(t Type) error {
	if b.Topic == "" {
		return invalid("the destination of type %s has no %s to publish to", t, map[Type]string{NatsJetStream: "subject", Kafka: "topic"}[t])
	}
	b.Key = cmp.Or(b.Key, KeyRepository)
	switch {
	case !slices.Contains([]string{KeyNone, KeyRepository, KeySubject}, b.Key):
		return invalid("key %q is none of a record: use none, repository or subject", clip(b.Key))
	case b.TLS != nil && !b.Secure:
		return invalid("there are certificates for a broker without TLS: switch TLS on, or leave them out")
	}
	server := b.server(t)
	err := server.Check()
	if err == nil {
		err = sink.CheckTopic(server.Kind, b.Topic)
	}
	if err == nil {
		return nil
	}
	return invalid("%s", fault.As(err).Message)
}

// server returns the broker as package sink knows it.
func (b *Broker) server(t Type) sink.Server {
	kind := sink.NATS
	if t == Kafka {
		kind = sink.Kafka
	}
	return sink.Server{
		Kind: kind, Addresses: b.Servers, Username: b.Username, Password: b.Password, Mechanism: b.Mechanism, Token: b.Token, Creds: b.Creds,
		Secure: b.Secure, TLS: b.TLS,
	}
}

// The keys of records.
const (
	KeyNone       = "none"
	KeyRepository = "repository"
	KeySubject    = "subject" // of the event
)

// shown returns d without what is write-only.
func (d Destination) shown() Destination {
	d.BaseURL, d.URL = baseOf(d.URL), ""
	d.Attributes = slices.Clone(d.Attributes)
	for i, a := range d.Attributes {
		if a.Secret {
			d.Attributes[i].Value = Hidden
		}
	}
	if d.Broker != nil {
		b := *d.Broker
		for _, secret := range []*string{&b.Password, &b.Token, &b.Creds} {
			if *secret != "" {
				*secret = Hidden
			}
		}
		b.TLS = nil
		d.Broker = &b
	}
	return d
}

// baseOf returns a URL without userinfo, query and fragment.
func baseOf(raw string) string {
	u, err := url.Parse(raw)
	if raw == "" || err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// policy returns how hard the engine tries. Event Grid promises no order. A broker
// keeps what comes in order, so it is given that per tag.
func (r record) policy() ring.Policy {
	p := ring.Policy{Timeout: timeout, MaxAttempts: r.MaxAttempts, TTL: r.TTL, Order: ring.Unordered, PerMinute: r.perMinute}
	if r.whole.Broker != nil {
		p.Order = ring.PerTag
	}
	return p
}
