package webhook

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
)

// TLS is what a receiver is trusted by and what it is shown, in PEM: a word of
// package outbound, for those who do not know that.
type TLS = outbound.TLS

// Definition is what a webhook is to be: the input of Put.
type Definition struct {
	Location      string // a region of the registry; case and blanks do not matter
	Tags          map[string]string
	ServiceURI    string
	CustomHeaders map[string]string
	Status        string // enabled, disabled, in any case; empty means enabled
	Scope         string
	Actions       []string // in any case; at least one

	Policy           *ring.Policy // nil means ring.Default
	SignatureHeaders []string     // styles of package signature, in any case, beside Standard Webhooks
	TLS              *TLS         // write-only, as ServiceURI and CustomHeaders are
	Format           string       // a Format, in any case; empty means ACR
	Handshake        string       // a Handshake, in any case; empty means that of the format

	EventTypePrefix string // of the types of CloudEvents, as event.CheckTypePrefix has it; empty means none of its own
	FlatData        bool   // of CloudEvents: as event.CloudExtras has it
}

// Change is what of a webhook is to be another: the input of Patch. A nil member
// is left as it is.
type Change struct {
	Tags          map[string]string // replaces all; empty clears
	ServiceURI    *string
	CustomHeaders map[string]string // replaces all; empty clears
	Status        *string
	Scope         *string
	Actions       []string

	Policy           *PolicyChange
	SignatureHeaders []string // replaces all; empty clears
	TLS              *TLS     // replaces all; one without members clears
	Format           *string
	Handshake        *string // empty: that of the format

	// Those of CloudEvents. Another format ends them.
	EventTypePrefix *string // empty: none of its own
	FlatData        *bool
}

// PolicyChange is what of a retry policy is to be another. A nil member is left
// as it is.
type PolicyChange struct {
	Timeout     *time.Duration
	MaxAttempts *int
	TTL         *time.Duration
	Order       *ring.Order
	PerMinute   *int
}

// ReplacePolicy returns the change that makes a policy be p in every member.
func ReplacePolicy(p ring.Policy) *PolicyChange {
	return &PolicyChange{&p.Timeout, &p.MaxAttempts, &p.TTL, &p.Order, &p.PerMinute}
}

// applyTo returns p with the change made.
func (c *PolicyChange) applyTo(p ring.Policy) ring.Policy {
	set(&p.Timeout, c.Timeout)
	set(&p.MaxAttempts, c.MaxAttempts)
	set(&p.TTL, c.TTL)
	set(&p.Order, c.Order)
	set(&p.PerMinute, c.PerMinute)
	return p
}

// set sets a member to a value, if there is one.
func set[T any](member *T, value *T) {
	if value != nil {
		*member = *value
	}
}

// Limits on names and tags, as ARM has them.
const (
	minName, maxName = 5, 50
	maxTags          = 50
	maxTagName       = 512
	maxTagValue      = 256
)

func checkName(name string) error {
	const rule = "use 5 to 50 letters and digits, for example "
	notAllowed := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}
	example := strings.Map(func(r rune) rune {
		if notAllowed(r) {
			return -1
		}
		return r
	}, name)
	if len(example) < minName || len(example) > maxName {
		example = "deployhook"
	}
	switch {
	case strings.ContainsFunc(name, notAllowed):
		return fault.New(fault.Invalid, "webhook name %q has a character that is not a letter or digit: %s%s", clip(name), rule, example)
	case len(name) < minName:
		return fault.New(fault.Invalid, "webhook name %q is too short: %s%s", name, rule, example)
	case len(name) > maxName:
		return fault.New(fault.Invalid, "webhook name %q is too long: %s%s", clip(name), rule, example)
	}
	return nil
}

// nameKey is what names are compared by.
func nameKey(name string) string { return strings.ToLower(name) }

// normalLocation writes a region as Azure does: East US is eastus.
func normalLocation(location string) string {
	return strings.ToLower(strings.ReplaceAll(location, " ", ""))
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fault.New(fault.Invalid, "the webhook has %d tags: it may have %d", len(tags), maxTags)
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case name == "":
			return fault.New(fault.Invalid, "a tag of the webhook has no name: write name=value")
		case len(name) > maxTagName:
			return fault.New(fault.Invalid, "the name of tag %q has %d bytes: it may have %d", clip(name), len(name), maxTagName)
		case len(tags[name]) > maxTagValue:
			return fault.New(fault.Invalid, "the value of tag %q has %d bytes: it may have %d", clip(name), len(tags[name]), maxTagValue)
		}
	}
	return nil
}

func parseStatus(text string) (Status, error) {
	switch s := Status(strings.ToLower(text)); s {
	case Enabled, Disabled:
		return s, nil
	}
	return "", fault.New(fault.Invalid, "status %q is not one of a webhook: use enabled or disabled", clip(text))
}

var actionRule = "use " + event.SubscribableText()

// parseAction reads an action that a webhook can ask for.
func parseAction(text string) (event.Action, error) {
	action := event.Action(strings.ToLower(text))
	if !slices.Contains(event.Subscribable, action) {
		return "", fault.New(fault.Invalid, "action %q is not one a webhook can ask for: %s", clip(text), actionRule)
	}
	return action, nil
}

// parseActions returns the actions in the order of event.Subscribable, each once.
func parseActions(sent []string) ([]event.Action, error) {
	if len(sent) == 0 {
		return nil, fault.New(fault.Invalid, "the webhook has no action: %s", actionRule)
	}
	asked := map[event.Action]bool{}
	for _, text := range sent {
		action, err := parseAction(text)
		if err != nil {
			return nil, err
		}
		asked[action] = true
	}
	var actions []event.Action
	for _, action := range event.Subscribable {
		if asked[action] {
			actions = append(actions, action)
		}
	}
	return actions, nil
}

// parseStyles returns the styles in the order of their names, each once; nil for
// none.
func parseStyles(sent []string) (styles []signature.Style, err error) {
	for _, text := range sent {
		style, err := signature.ParseStyle(text)
		if err != nil {
			return nil, err
		}
		styles = append(styles, style)
	}
	slices.Sort(styles)
	return slices.Compact(styles), nil
}

// Limits on custom headers.
const (
	maxHeaders     = 32
	maxHeaderBytes = 8 << 10 // names and values together
)

// reserved are the header fields that are the sender's own.
var reserved = []string{
	"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "traceparent", "transfer-encoding", "upgrade",
	"x-hub-signature-256", "x-signature",
}

// reservedPrefixes begin the names of others.
var reservedPrefixes = []string{"ce-", "dockbell-", "proxy-", "webhook-", "x-dockbell-"}

// checkHeaders checks custom headers. No message repeats a value.
func checkHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fault.New(fault.Invalid, "the webhook has %d custom headers: it may have %d", len(headers), maxHeaders)
	}
	size := 0
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		key := strings.ToLower(name)
		switch {
		case !outbound.IsToken(name):
			return fault.New(fault.Invalid, "%q is no name for a header: use letters, digits and dashes, for example X-Env", clip(name))
		case slices.Contains(reserved, key) || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }):
			return fault.New(fault.Invalid, "header %s cannot be set: the sender uses it itself; choose another name, for example X-%s", clip(name), clip(textproto.CanonicalMIMEHeaderKey(name)))
		case seen[key] != "":
			return fault.New(fault.Invalid, "headers %s and %s are the same to HTTP: give one of them", clip(seen[key]), clip(name))
		case !outbound.IsFieldValue(headers[name]):
			return fault.New(fault.Invalid, "the value of header %s has a line break or another control character: leave it out", clip(name))
		}
		seen[key] = name
		size += len(name) + len(headers[name])
	}
	if size > maxHeaderBytes {
		return fault.New(fault.Invalid, "the custom headers of the webhook have %d bytes: they may have %d", size, maxHeaderBytes)
	}
	return nil
}

// checkMove fails if a webhook is to be in another location than it is.
func checkMove(old record, location string) error {
	if l := normalLocation(location); l != "" && l != old.Location {
		return fault.New(fault.Conflict, "webhook %s is in %s and cannot move to %s: delete it and create it there", old.Name, old.Location, clip(l)).
			WithCode("InvalidResourceLocation")
	}
	return nil
}

// checkAddressed fails if a new webhook has no address.
func checkAddressed(def Definition) error {
	if def.ServiceURI == "" {
		return fault.New(fault.Invalid, "the webhook has no service URI: give an http or https URL, for example https://hooks.example.net/acr")
	}
	return nil
}

// checkQuota fails if a registry that has so many webhooks may have no more.
func checkQuota(reg Registry, have int) error {
	if have < reg.Limit {
		return nil
	}
	way := "delete one"
	if higher := map[string]string{"Basic": "Standard", "Standard": "Premium"}[reg.SKU]; higher != "" {
		way = fmt.Sprintf("delete one or move to %s with dockbell registry update -n %s --sku %s", higher, reg.Name, higher)
	}
	return fault.New(fault.Quota, "registry %s (%s) has %d of %d webhooks: %s", reg.Name, reg.SKU, have, reg.Limit, way).
		WithCode("QuotaExceeded")
}

func unknown(reg Registry, name string) error {
	return fault.New(fault.NotFound, "registry %s has no webhook %q: dockbell webhook list -r %s shows those it has", reg.Name, clip(name), reg.Name).
		WithCode("ResourceNotFound")
}

// place returns the location for a new webhook.
func place(reg Registry, location string) (string, error) {
	normal := normalLocation(location)
	if normal == "" {
		return "", fault.New(fault.Invalid, "the webhook has no location: give a region of registry %s (%s)", reg.Name, strings.Join(reg.Locations, ", ")).
			WithCode("LocationRequired")
	}
	if !slices.ContainsFunc(reg.Locations, func(l string) bool { return normalLocation(l) == normal }) {
		return "", fault.New(fault.Invalid, "registry %s is not in location %s, so no webhook there could ring: use %s, or create a replication there first",
			reg.Name, clip(normal), strings.Join(reg.Locations, ", ")).WithCode("LocationNotAvailableForResourceType")
	}
	return normal, nil
}

// asChange returns d as the change it makes to a webhook that is there. Of the
// write-only part, what d leaves out stays: nobody who reads a webhook, edits it
// and puts it back can have sent it. But headers and certificates made for one
// address are never shown to another.
func (d Definition) asChange() Change {
	c := Change{
		Tags: d.Tags, CustomHeaders: d.CustomHeaders, Scope: &d.Scope, Actions: d.Actions,
		Policy: ReplacePolicy(ring.Default()), SignatureHeaders: d.SignatureHeaders, TLS: d.TLS,
		Format: new(cmp.Or(d.Format, string(ACR))), Handshake: &d.Handshake, EventTypePrefix: &d.EventTypePrefix, FlatData: &d.FlatData,
	}
	if d.Policy != nil {
		c.Policy = ReplacePolicy(*d.Policy)
	}
	if c.SignatureHeaders == nil {
		c.SignatureHeaders = []string{}
	}
	status := cmp.Or(d.Status, string(Enabled))
	c.Status = &status
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	if c.Actions == nil {
		c.Actions = []string{}
	}
	if d.ServiceURI != "" {
		c.ServiceURI = &d.ServiceURI
		if c.CustomHeaders == nil {
			c.CustomHeaders = map[string]string{}
		}
		if c.TLS == nil {
			c.TLS = &TLS{}
		}
	}
	return c
}

// check checks what c gives, as far as that can be done without looking at the
// webhook. What it leaves alone is not checked again: a webhook whose address
// is refused by now can still be disabled.
func (c Change) check(checkURL func(string) error) error {
	for p := range c.problems(checkURL) {
		return p.Err
	}
	return nil
}

// problems yields what check fails with, of every member.
func (c Change) problems(checkURL func(string) error) iter.Seq[Problem] {
	return problems(
		memberRule{MemberTags, func() error { return checkTags(c.Tags) }},
		memberRule{MemberServiceURI, func() error { return given(c.ServiceURI, checkURL) }},
		memberRule{MemberHeaders, func() error { return checkHeaders(c.CustomHeaders) }},
		memberRule{MemberStatus, func() error { return parses(c.Status, parseStatus) }},
		memberRule{MemberScope, func() error { return parses(c.Scope, parseScope) }},
		memberRule{MemberActions, func() (err error) {
			if c.Actions != nil {
				_, err = parseActions(c.Actions)
			}
			return err
		}},
		memberRule{MemberPolicy, func() error {
			if c.Policy == nil {
				return nil
			}
			// Each member has a rule of its own, so this one is about those given.
			return c.Policy.applyTo(ring.Default()).Check()
		}},
		memberRule{MemberStyles, func() error { _, err := parseStyles(c.SignatureHeaders); return err }},
		memberRule{MemberFormat, func() error { return parses(c.Format, parseFormat) }},
		memberRule{MemberHandshake, func() error {
			if c.Handshake == nil || *c.Handshake == "" {
				return nil
			}
			return parses(c.Handshake, parseHandshake)
		}},
		memberRule{MemberTypePrefix, func() error { return given(c.EventTypePrefix, event.CheckTypePrefix) }},
		memberRule{MemberTLS, func() error { return outbound.CheckTLS(c.TLS) }},
	)
}

// given checks a member that may be left out.
func given(member *string, check func(string) error) error {
	if member == nil {
		return nil
	}
	return check(*member)
}

// parses is given for a member that is checked by parsing it.
func parses[T any](member *string, parse func(string) (T, error)) error {
	return given(member, func(text string) error {
		_, err := parse(text)
		return err
	})
}

// of returns old with the change, which was checked, made.
func (c Change) of(old record) record {
	c.apply(&old)
	return old
}

// apply makes the change, which was checked, to r.
func (c Change) apply(r *record) {
	if c.Tags != nil {
		r.Tags = c.Tags
	}
	if c.ServiceURI != nil {
		r.ServiceURI = *c.ServiceURI
	}
	if c.CustomHeaders != nil {
		r.CustomHeaders = c.CustomHeaders
	}
	if c.Status != nil {
		r.Status = Status(strings.ToLower(*c.Status))
		if r.Status == Enabled {
			r.DisabledWhy = ""
		}
	}
	if c.Scope != nil {
		r.Scope = *c.Scope
	}
	if c.Actions != nil {
		r.Actions = c.Actions
	}
	if c.Policy != nil {
		r.Policy = c.Policy.applyTo(r.Policy)
	}
	if c.SignatureHeaders != nil {
		r.SignatureHeaders, _ = parseStyles(c.SignatureHeaders)
	}
	if c.TLS != nil {
		r.TLS = c.TLS
		if isEmpty(c.TLS) {
			r.TLS = nil
		}
	}
	was := r.Format
	if c.Format != nil {
		r.Format, _ = parseFormat(*c.Format)
	}
	switch {
	case c.Handshake != nil && *c.Handshake != "":
		r.Handshake, _ = parseHandshake(*c.Handshake)
	case c.Handshake != nil, !was.keepsHandshake(r.Format):
		r.Handshake = r.Format.handshake()
	}
	if !r.Format.tellsCloudEvents() {
		r.Extras = event.CloudExtras{}
	}
	set(&r.Extras.TypePrefix, c.EventTypePrefix)
	set(&r.Extras.FlatData, c.FlatData)
}

func isEmpty(t *TLS) bool {
	return len(t.CA) == 0 && len(t.Certificate) == 0 && len(t.Key) == 0
}

// sameTLS reports whether a receiver is met in the same way.
func sameTLS(a, b *TLS) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.CA, b.CA) && bytes.Equal(a.Certificate, b.Certificate) && bytes.Equal(a.Key, b.Key)
}

// checkFor checks what depends on the webhook that is to be changed.
func (c Change) checkFor(old record) error {
	if old.Listener && c.ServiceURI != nil {
		return fault.New(fault.Conflict, "webhook %s is a listener, which has no address: create a webhook of another name for a service URI", old.Name)
	}
	return nil
}

// check checks what a change may break of the webhook it was applied to.
func (r record) check() error {
	for p := range r.problems() {
		return p.Err
	}
	return nil
}

// problems yields what check fails with.
func (r record) problems() iter.Seq[Problem] {
	return problems(
		memberRule{MemberFormat, func() error {
			if r.Listener && (r.Format != ACR || r.Handshake != NoHandshake) {
				return fault.New(fault.Invalid, "webhook %s is a listener, which has no address: leave format and handshake out", r.Name)
			}
			return nil
		}},
		memberRule{MemberTypePrefix, func() error {
			if !r.Format.tellsCloudEvents() && r.Extras != (event.CloudExtras{}) {
				return fault.New(fault.Invalid, "webhook %s has a prefix of event types or flat data, and the format %s, which has neither: leave them out, or use the format cloudevents or cloudevents-binary", r.Name, r.Format)
			}
			return nil
		}},
		memberRule{MemberServiceURI, func() error { return r.Format.checkURI(r.ServiceURI) }},
		memberRule{MemberHeaders, func() error {
			for name := range r.CustomHeaders {
				if r.Format != ACR && strings.EqualFold(name, "Content-Type") {
					return fault.New(fault.Invalid, "webhook %s has a custom header Content-Type, which the format %s sets itself: take the header away, or use the format acr", r.Name, r.Format)
				}
			}
			return nil
		}},
		memberRule{MemberTLS, func() error {
			if r.TLS != nil && strings.HasPrefix(outbound.HostOf(r.ServiceURI), "http://") {
				return fault.New(fault.Invalid, "webhook %s has certificates, and a service URI that begins with http: give one that begins with https, or take the certificates away", r.Name)
			}
			return nil
		}},
	)
}
