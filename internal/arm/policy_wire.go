package arm

import (
	"cmp"
	"iter"
	"time"

	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/webhook"
)

// policyInput is the member retryPolicy of PUT and PATCH. A member that is null
// is the default.
type policyInput struct {
	MaxDeliveryAttempts      member[int]    `json:"maxDeliveryAttempts"`
	EventTimeToLiveInMinutes member[int]    `json:"eventTimeToLiveInMinutes"`
	TimeoutInSeconds         member[int]    `json:"timeoutInSeconds"`
	Order                    member[string] `json:"order"`
	MaxPerMinute             member[int]    `json:"maxPerMinute"`
}

// check checks the numbers, as they were sent, and names the one that is out of
// range. The order is for package ring to know.
func (in policyInput) check() error {
	for _, err := range in.problems() {
		return err
	}
	return nil
}

// problems yields the members that are out of range.
func (in *policyInput) problems() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, m := range in.ranges() {
			if m.outOfRange() && !yield(m.name, invalidContent("properties.retryPolicy.%s is %d: use %d to %d", m.name, *m.sent.value, m.min, m.max)) {
				return
			}
		}
	}
}

// leaveOutOfRange makes absent what is out of range.
func (in *policyInput) leaveOutOfRange() {
	for _, m := range in.ranges() {
		if m.outOfRange() {
			*m.sent = member[int]{}
		}
	}
}

// rangeOf is what a number may be.
type rangeOf struct {
	name     string
	sent     *member[int]
	min, max int
}

func (m rangeOf) outOfRange() bool {
	return m.sent.value != nil && (*m.sent.value < m.min || *m.sent.value > m.max)
}

func (in *policyInput) ranges() []rangeOf {
	return []rangeOf{
		{"maxDeliveryAttempts", &in.MaxDeliveryAttempts, 1, ring.MaxMaxAttempts},
		{"eventTimeToLiveInMinutes", &in.EventTimeToLiveInMinutes, int(ring.MinTTL / time.Minute), int(ring.MaxTTL / time.Minute)},
		{"timeoutInSeconds", &in.TimeoutInSeconds, int(ring.MinTimeout / time.Second), int(ring.MaxTimeout / time.Second)},
		{"maxPerMinute", &in.MaxPerMinute, 0, ring.MaxPerMinute},
	}
}

// policyOf reads the member of a PUT, where absent members are the default too.
func policyOf(m member[policyInput]) (*ring.Policy, error) {
	in := m.orZero()
	c, d := in.change(), ring.Default()
	return &ring.Policy{
		MaxAttempts: *cmp.Or(c.MaxAttempts, &d.MaxAttempts),
		TTL:         *cmp.Or(c.TTL, &d.TTL),
		Timeout:     *cmp.Or(c.Timeout, &d.Timeout),
		Order:       *cmp.Or(c.Order, &d.Order),
		PerMinute:   *cmp.Or(c.PerMinute, &d.PerMinute),
	}, in.check()
}

// policyChange reads the member of a PATCH: null is the default in all.
func policyChange(m member[policyInput]) (*webhook.PolicyChange, error) {
	switch {
	case !m.present:
		return nil, nil
	case m.value == nil:
		return webhook.ReplacePolicy(ring.Default()), nil
	}
	return m.value.change(), m.value.check()
}

// change returns what of a policy is to be another: absent members are not.
func (in policyInput) change() *webhook.PolicyChange {
	d := ring.Default()
	return &webhook.PolicyChange{
		MaxAttempts: given(in.MaxDeliveryAttempts, d.MaxAttempts, func(n int) int { return n }),
		TTL:         given(in.EventTimeToLiveInMinutes, d.TTL, func(n int) time.Duration { return time.Duration(n) * time.Minute }),
		Timeout:     given(in.TimeoutInSeconds, d.Timeout, func(n int) time.Duration { return time.Duration(n) * time.Second }),
		Order:       given(in.Order, d.Order, func(s string) ring.Order { return ring.Order(s) }),
		PerMinute:   given(in.MaxPerMinute, d.PerMinute, func(n int) int { return n }),
	}
}

// given returns nil for a member that is absent, a default for null, and else
// the value as the domain has it.
func given[W, D any](m member[W], otherwise D, read func(W) D) *D {
	switch {
	case !m.present:
		return nil
	case m.value == nil:
		return &otherwise
	}
	d := read(*m.value)
	return &d
}

// policyBody shows a policy that is not the default.
type policyBody struct {
	MaxDeliveryAttempts      int        `json:"maxDeliveryAttempts"`
	EventTimeToLiveInMinutes int        `json:"eventTimeToLiveInMinutes"`
	TimeoutInSeconds         int        `json:"timeoutInSeconds"`
	Order                    ring.Order `json:"order"`
	MaxPerMinute             int        `json:"maxPerMinute,omitempty"` // absent: no limit
}

// policyToWire returns nil for the default.
func policyToWire(p ring.Policy) *policyBody {
	if p == ring.Default() {
		return nil
	}
	return &policyBody{p.MaxAttempts, int(p.TTL / time.Minute), int(p.Timeout / time.Second), p.Order, p.PerMinute}
}

// tlsInput is the member tls of PUT and PATCH, which no answer shows. All of it
// is PEM.
type tlsInput struct {
	CACertificates    string `json:"caCertificates"`
	ClientCertificate string `json:"clientCertificate"`
	ClientKey         string `json:"clientKey"`
}

// tlsOf returns nil for an absent member, and settings without members, which
// clear, for null.
func tlsOf(m member[tlsInput]) *webhook.TLS {
	if !m.present {
		return nil
	}
	in := m.orZero()
	return &webhook.TLS{CA: []byte(in.CACertificates), Certificate: []byte(in.ClientCertificate), Key: []byte(in.ClientKey)}
}
