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
		Target    *acrTarget  `json:"target,omitempty"`
		Request   *acrRequest `json:"request,omitempty"`
	}
	acrTarget struct {
		MediaType  string `json:"mediaType,omitempty"`
		Size       int64  `json:"size,omitempty"`
		Digest     string `json:"digest,omitempty"`
		Length     int64  `json:"length,omitempty"`
		Repository string `json:"repository,omitempty"`
		Tag        string `json:"tag,omitempty"`
		Name       string `json:"name,omitempty"`
		Version    string `json:"version,omitempty"`
	}
	acrRequest struct {
		ID        string `json:"id"`
		Host      string `json:"host"`
		Method    string `json:"method,omitempty"`
		UserAgent string `json:"useragent,omitempty"`
	}
)

// ACR writes pushes and deletes with nine fractional digits and everything
// else with seven.
const (
	nineDigits  = "2006-01-02T15:04:05.000000000Z"
	sevenDigits = "2006-01-02T15:04:05.0000000Z"
)

// ACRBody returns the body of an ACR webhook for e: one compact JSON object.
// Which members are there depends on the action, as ACR does it: a delete has
// no tag and no size, a quarantine no media type, a chart no request, a ping
// neither target nor request.
func ACRBody(e *Event) []byte {
	body := acrBody{ID: e.ID, Timestamp: timestamp(e), Action: e.Action}
	t := e.Target
	switch e.Action {
	case Push:
		body.Target = &acrTarget{MediaType: t.MediaType, Size: t.Size, Digest: t.Digest, Length: t.Size, Repository: t.Repository, Tag: t.Tag}
		body.Request = request(e)
	case Quarantine:
		body.Target = &acrTarget{Size: t.Size, Digest: t.Digest, Length: t.Size, Repository: t.Repository, Tag: t.Tag}
		body.Request = request(e)
		body.Request.UserAgent = ""
	case Delete:
		body.Target = &acrTarget{MediaType: t.MediaType, Digest: t.Digest, Repository: t.Repository}
		body.Request = request(e)
	case ChartPush, ChartDelete:
		body.Target = &acrTarget{MediaType: t.MediaType, Size: t.Size, Digest: t.Digest, Repository: t.Repository, Tag: t.Tag, Name: t.Name, Version: t.Version}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // a user agent with & reads as it was sent
	if err := enc.Encode(body); err != nil {
		panic("event: an ACR body is made of strings and integers: " + err.Error())
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}

func request(e *Event) *acrRequest {
	r := e.Request
	return &acrRequest{ID: r.ID, Host: r.Host, Method: r.Method, UserAgent: r.UserAgent}
}

func timestamp(e *Event) string {
	layout := sevenDigits
	if e.Action == Push || e.Action == Delete {
		layout = nineDigits
	}
	return e.At.UTC().Format(layout)
}

// Timestamp returns the moment of the event as ACR writes it.
func (e *Event) Timestamp() string { return timestamp(e) }
