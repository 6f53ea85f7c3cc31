package event

import (
	"bytes"
	"encoding/json"
)

// The wire forms of ACR's webhook body. The order of members is the order seen
// on the wire.
type (
	acrBody struct {
		ID        string      `json:"id"`
		Timestamp string      `json:"timestamp"`
		Action    Action      `json:"action"`
		Target    any         `json:"target,omitempty"` // *acrTarget, *beyondTarget or *acrWebhook
		Request   *acrRequest `json:"request,omitempty"`
	}
	acrTarget struct {
		MediaType  string `json:"mediaType,omitempty"`
		Size       int64  `json:"size,omitempty"`
		Digest     string `json:"digest,omitempty"`
		Length     int64  `json:"length,omitempty"`
		Repository string `json:"repository,omitempty"`
		Tag        string `json:"tag,omitempty"`
		URL        string `json:"url,omitempty"` // never in ACR's body
		Name       string `json:"name,omitempty"`
		Version    string `json:"version,omitempty"`
	}
	// beyondTarget is the target of an action that is not ACR's: a push's, and
	// what the action adds.
	beyondTarget struct {
		acrTarget
		PreviousDigest string `json:"previousDigest,omitempty"`
		SubjectDigest  string `json:"subjectDigest,omitempty"`
		ArtifactType   string `json:"artifactType,omitempty"`
	}
	acrWebhook struct {
		Webhook    string `json:"webhook"`
		Condition  string `json:"condition"`
		Since      string `json:"since"`
		LastStatus int    `json:"lastStatus"`
		LastError  string `json:"lastError"`
		Progress   int    `json:"progress"`
	}
	acrRequest struct {
		ID        string `json:"id"`
		Host      string `json:"host"`
		Method    string `json:"method,omitempty"`
		Addr      string `json:"addr,omitempty"` // never in ACR's body
		UserAgent string `json:"useragent,omitempty"`
	}
)

// ACR writes pushes and deletes with nine fractional digits and everything
// else with seven.
const (
	nineDigits  = "2006-01-02T15:04:05.000000000Z"
	sevenDigits = "2006-01-02T15:04:05.0000000Z"
)

// MaxBody is what no body exceeds, in bytes.
const MaxBody = 64 << 10

// What is kept of texts that are as long as strangers make them, in bytes. In
// JSON, which may write six bytes for one, they stay far below MaxBody together.
const (
	maxUserAgent = 4 << 10
	maxText      = 1 << 10
	maxAddr      = 128
)

// ACRBody returns the body of an ACR webhook for e: one compact JSON object.
// Which members are there depends on the action, as ACR does it: a delete has
// no tag and no size, a quarantine no media type, a chart no request, a ping
// neither target nor request. A webhook_failing has a webhook for its target; the
// other actions that are not ACR's have what a push has, and what they add.
//
// Texts that strangers choose are cut, so that a body has less than MaxBody
// bytes whatever they sent.
func ACRBody(e *Event) []byte {
	target, request := about(e)
	return compact(acrBody{ID: e.ID, Timestamp: timestamp(e), Action: e.Action, Target: target, Request: request})
}

// about returns what an event tells of in every encoding: what was acted on, nil
// for a ping, and the request that did it, nil where ACR leaves it out.
func about(e *Event) (target any, by *acrRequest) {
	t, mediaType := e.Target, cut(e.Target.MediaType, maxText)
	switch e.Action {
	case Push:
		return pushed(t, mediaType), request(e)
	case Quarantine:
		by = request(e)
		by.UserAgent = ""
		return &acrTarget{Size: t.Size, Digest: t.Digest, Length: t.Size, Repository: t.Repository, Tag: t.Tag}, by
	case Delete:
		return &acrTarget{MediaType: mediaType, Digest: t.Digest, Repository: t.Repository}, request(e)
	case ChartPush, ChartDelete:
		return &acrTarget{MediaType: mediaType, Size: t.Size, Digest: t.Digest, Repository: t.Repository, Tag: t.Tag, Name: t.Name, Version: t.Version}, nil
	case Untag, Pull:
		return pushed(t, mediaType), request(e)
	case TagMoved:
		return &beyondTarget{acrTarget: *pushed(t, mediaType), PreviousDigest: t.PreviousDigest}, request(e)
	case ReferrerAttached:
		return &beyondTarget{acrTarget: *pushed(t, mediaType), SubjectDigest: t.SubjectDigest, ArtifactType: cut(t.ArtifactType, maxText)}, request(e)
	case WebhookFailing:
		w := e.Webhook
		if w == nil {
			return nil, nil // of an event that was read without its record
		}
		return &acrWebhook{
			Webhook: w.Name, Condition: w.Condition, Since: w.Since.UTC().Format(sevenDigits),
			LastStatus: w.LastStatus, LastError: cut(w.LastError, maxText), Progress: w.Progress,
		}, nil
	}
	return nil, nil
}

// pushed returns a target as a push has it. What is not known of it, as the size of
// what a tag named that is gone, is left out.
func pushed(t Target, mediaType string) *acrTarget {
	return &acrTarget{MediaType: mediaType, Size: t.Size, Digest: t.Digest, Length: t.Size, Repository: t.Repository, Tag: t.Tag}
}

// compact encodes v without blanks.
func compact(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // a user agent with & reads as it was sent
	if err := enc.Encode(v); err != nil {
		panic("event: a body is made of strings and integers: " + err.Error())
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}

func request(e *Event) *acrRequest {
	r := e.Request
	return &acrRequest{ID: r.ID, Host: cut(r.Host, maxText), Method: r.Method, UserAgent: cut(r.UserAgent, maxUserAgent)}
}

// cut returns the first n bytes of s.
func cut(s string, n int) string { return s[:min(n, len(s))] }

func timestamp(e *Event) string {
	layout := sevenDigits
	if e.Action == Push || e.Action == Delete {
		layout = nineDigits
	}
	return e.At.UTC().Format(layout)
}

// Timestamp returns the moment of the event as ACR writes it.
func (e *Event) Timestamp() string { return timestamp(e) }
