package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
)

// timeout is how long a receiver has for its answer.
const timeout = 10 * time.Second

// The header fields of Standard Webhooks, as package net/http writes them.
const (
	idField        = "Webhook-Id"
	timestampField = "Webhook-Timestamp"
	signatureField = "Webhook-Signature"
)

// public are the header fields whose values are shown in the log.
var public = []string{"Content-Type", "Content-Length", "User-Agent", idField, timestampField}

// hook is a webhook made ready for use: all that does not change from one
// request to the next. It is never changed.
type hook struct {
	id       int64
	registry int64
	location string
	rule     rule

	url    string
	header http.Header // with places for what changes
	secret []byte
}

func (s *Store) newHook(r record) (*hook, error) {
	wants, err := newRule(r.Status, r.Scope, r.Actions)
	if err != nil {
		return nil, fmt.Errorf("webhook %d: %w", r.ID, err)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.SigningSecret, secretPrefix))
	if err != nil {
		return nil, fmt.Errorf("webhook %d: its signing secret is not base64", r.ID)
	}
	header := http.Header{
		"Content-Type": {"application/json; charset=utf-8"},
		"User-Agent":   {s.userAgent},
		idField:        nil,
		timestampField: nil,
		signatureField: nil,
	}
	for name, value := range r.CustomHeaders {
		header.Set(name, value)
	}
	return &hook{
		id: r.ID, registry: r.RegistryID, location: r.Location, rule: wants,
		url: r.ServiceURI, header: header, secret: secret,
	}, nil
}

// request returns the request for one event, signed as Standard Webhooks has it.
func (h *hook) request(id string, body []byte, at time.Time) outbound.Request {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	values := []string{id, timestamp, sign(h.secret, id, timestamp, body)}
	header := maps.Clone(h.header)
	header[idField] = values[0:1:1]
	header[timestampField] = values[1:2:2]
	header[signatureField] = values[2:3:3]
	return outbound.Request{URL: h.url, Header: header, Body: body, Timeout: timeout, Public: public}
}

// sign returns the signature, version 1, of the bytes that are sent.
func sign(secret []byte, id, timestamp string, body []byte) string {
	const version = "v1,"
	mac := hmac.New(sha256.New, secret)
	signed := make([]byte, 0, 128)
	signed = append(signed, id...)
	signed = append(signed, '.')
	signed = append(signed, timestamp...)
	signed = append(signed, '.')
	mac.Write(signed)
	mac.Write(body)
	out := make([]byte, 0, len(version)+44)
	out = append(out, version...)
	return string(base64.StdEncoding.AppendEncode(out, mac.Sum(signed[:0])))
}
