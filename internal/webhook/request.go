package webhook

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
)

// The header fields beside those of package signature, as package net/http
// writes them.
const (
	replayField = "Dockbell-Replay" // the number of the replay that the request belongs to
	testField   = "Dockbell-Test"   // true: the event is a sample
)

// public are the header fields whose values are shown in the log.
var public = []string{
	"Content-Type", "Content-Length", "User-Agent", signature.IDField, signature.TimestampField, replayField, testField,
}

// hook is a webhook made ready for use: all that does not change from one
// request to the next. It is never changed.
type hook struct {
	id       int64
	registry int64
	location string
	rule     rule
	terms    ring.Terms
	format   Format
	extras   event.CloudExtras

	origin    string        // for which the address has to agree; empty: it is not asked
	perMinute int           // requests that it is asked to take; 0: any number
	consent   consent.State // of the address

	url    string
	header http.Header // custom ones included; without what changes
	tls    *outbound.TLS

	secret   signature.Secret
	previous signature.Secret // signs too until then; zero for none
	until    time.Time
	styles   []signature.Style
}

func (s *Store) newHook(r record) (*hook, error) {
	wants, err := newRule(r.Status, r.Scope, r.Actions)
	if err != nil {
		return nil, fmt.Errorf("webhook %d: %w", r.ID, err)
	}
	h := &hook{
		id: r.ID, registry: r.RegistryID, location: r.Location, rule: wants,
		terms: ring.Terms{Policy: r.Policy, Host: outbound.HostOf(r.ServiceURI), Disabled: !wants.enabled},
		url:   r.ServiceURI, header: s.header(r.Format, r.CustomHeaders), tls: r.TLS,
		until: r.PreviousUntil, styles: r.SignatureHeaders,
		format: r.Format, extras: r.Extras, perMinute: r.Policy.PerMinute, consent: r.Consent,
	}
	if r.Handshake == CloudEventsHandshake {
		h.origin = consent.Origin(s.Source(r.RegistryID).LoginServer)
		h.nameOrigin()
		h.terms.PerMinute = lower(r.Policy.PerMinute, r.Consent.PerMinute)
	}
	if h.secret, err = signature.Parse(r.SigningSecret); err != nil {
		return nil, fmt.Errorf("webhook %d: %w", r.ID, err)
	}
	if r.PreviousSecret != "" {
		if h.previous, err = signature.Parse(r.PreviousSecret); err != nil {
			return nil, fmt.Errorf("webhook %d: %w", r.ID, err)
		}
	}
	return h, nil
}

// header returns what every request of a webhook begins with.
func (s *Store) header(format Format, custom map[string]string) http.Header {
	header := format.header()
	header["User-Agent"] = []string{s.userAgent}
	for name, value := range custom {
		header.Set(name, value)
	}
	return header
}

// request returns the request for a call, with the signatures for its moment.
func (h *hook) request(c ring.Call) outbound.Request {
	body, attributes := h.format.encode(c, h.extras)
	header := make(http.Header, len(h.header)+len(attributes)+6)
	maps.Copy(header, h.header)
	values := make([]string, 0, len(attributes)+8)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for _, a := range attributes {
		set(a.Field, a.Value)
	}
	timestamp := signature.Timestamp(c.At)
	set(signature.IDField, c.Event.ID)
	set(signature.TimestampField, timestamp)
	if !h.previous.IsZero() && c.At.Before(h.until) {
		set(signature.SignatureField, signature.Sign(c.Event.ID, timestamp, body, h.secret, h.previous))
	} else {
		set(signature.SignatureField, signature.Sign(c.Event.ID, timestamp, body, h.secret))
	}
	for _, style := range h.styles { // they have room for one signature
		set(style.Field(), signature.SignText(body, h.secret))
	}
	if c.Replay != 0 {
		set(replayField, strconv.FormatInt(c.Replay, 10))
	}
	if c.Event.Sample {
		set(testField, "true")
	}
	return outbound.Request{
		URL: h.url, Header: header, Body: body, Timeout: h.terms.Timeout, Public: h.format.public(), SecretPath: h.format.secretPath(),
		TLS: h.tls, Hops: c.Event.Request.Hops, Actor: c.Event.Actor,
	}
}
