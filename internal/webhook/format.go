package webhook

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/spell"
)

// Format is how the requests of a webhook tell of an event.
type Format string

// The formats.
const (
	ACR               Format = "acr"                // the body of ACR's webhooks
	CloudEvents       Format = "cloudevents"        // CloudEvents 1.0, structured mode
	CloudEventsBinary Format = "cloudevents-binary" // CloudEvents 1.0, binary mode
	GitHub            Format = "github"             // a repository_dispatch event of GitHub
	GitLab            Format = "gitlab"             // a pipeline trigger of GitLab
	Slack             Format = "slack"              // a message to an incoming webhook of Slack
)

var formats = []Format{ACR, CloudEvents, CloudEventsBinary, GitHub, GitLab, Slack}

func parseFormat(text string) (Format, error) {
	f := Format(strings.ToLower(text))
	if !slices.Contains(formats, f) {
		return "", fault.New(fault.Invalid, "format %q is none of a webhook: use acr, cloudevents, cloudevents-binary, github, gitlab or slack%s", clip(text), near(clip(text)))
	}
	return f, nil
}

// near proposes the format that was probably meant, if there is one.
func near(text string) string {
	best, proposal := len(text)/3+1, ""
	for _, f := range formats {
		if d := spell.Distance(strings.ToLower(text), string(f)); d < best {
			best, proposal = d, ", did you mean "+string(f)+"?"
		}
	}
	return proposal
}

// tellsCloudEvents reports whether f is a mode of CloudEvents.
func (f Format) tellsCloudEvents() bool { return f == CloudEvents || f == CloudEventsBinary }

// contentType returns the media type of bodies.
func (f Format) contentType() string {
	if f == CloudEvents {
		return event.StructuredType
	}
	return event.BinaryType
}

// header returns the fields that every request of the format begins with, and that
// custom headers may replace where record.check lets them.
func (f Format) header() http.Header {
	header := http.Header{"Content-Type": {f.contentType()}}
	if f == GitHub {
		header["Accept"], header["X-Github-Api-Version"] = []string{"application/vnd.github+json"}, []string{"2022-11-28"}
	}
	return header
}

// encode returns the body of a request, and the header fields beside it that tell
// of the event. Extras are those of CloudEvents.
func (f Format) encode(c ring.Call, extras event.CloudExtras) (body []byte, attributes []event.Attribute) {
	switch f {
	case CloudEvents:
		return extras.Structured(c.Event), nil
	case CloudEventsBinary:
		attributes, body = extras.Binary(c.Event)
		return body, attributes
	case GitHub:
		return event.GitHubDispatch(c.Event), nil
	case GitLab:
		return event.GitLabTrigger(c.Event), nil
	case Slack:
		return event.SlackMessage(c.Event), nil
	}
	return c.ACRBody, nil
}

// secretPath reports whether the path of an address is its secret, as with the
// incoming webhooks of Slack, Mattermost and Discord.
func (f Format) secretPath() bool { return f == Slack }

// secretsIn returns what must not be shown of an address because of the format.
func (f Format) secretsIn(uri string) []string {
	if u, err := url.Parse(uri); err == nil && f.secretPath() {
		return []string{strings.Trim(u.Path, "/")}
	}
	return nil
}

// checkURI fails with fault.Invalid for an address that the service of the format
// does not have: it would answer each event with an error that names no cause. No
// message repeats the address.
func (f Format) checkURI(uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return nil // Options.CheckURL has a word for it
	}
	path := strings.TrimSuffix(u.Path, "/")
	switch f {
	case GitHub:
		if !strings.HasSuffix(path, "/dispatches") {
			return fault.New(fault.Invalid, "the format github needs a service URI that ends in /dispatches: give one like https://api.github.com/repos/OWNER/REPOSITORY/dispatches")
		}
	case GitLab:
		query := u.Query()
		if !strings.HasSuffix(path, "/trigger/pipeline") || query.Get("token") == "" || query.Get("ref") == "" && !strings.Contains(path, "/ref/") {
			return fault.New(fault.Invalid, "the format gitlab needs a service URI that starts a pipeline, with token and ref in its query: give one like https://gitlab.example.com/api/v4/projects/ID/trigger/pipeline?token=TOKEN&ref=main")
		}
	}
	return nil
}

// publicAttributes are public, and the fields of binary mode.
var publicAttributes = append(public[:len(public):len(public)], "Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Subject", "Ce-Time")

// public returns the header fields whose values are shown in the log.
func (f Format) public() []string {
	if f == CloudEventsBinary {
		return publicAttributes
	}
	return public
}

// Handshake is how the address of a webhook is asked whether it wants to be rung.
type Handshake string

// The handshakes.
const (
	NoHandshake          Handshake = "none"        // it is not asked: its owner answers for it
	CloudEventsHandshake Handshake = "cloudevents" // that of package consent
)

func parseHandshake(text string) (Handshake, error) {
	switch h := Handshake(strings.ToLower(text)); h {
	case NoHandshake, CloudEventsHandshake:
		return h, nil
	}
	return "", fault.New(fault.Invalid, "handshake %q is none of a webhook: use cloudevents or none", clip(text))
}

// handshake returns that of webhooks whose owner has not chosen one.
func (f Format) handshake() Handshake {
	if f.tellsCloudEvents() {
		return CloudEventsHandshake
	}
	return NoHandshake
}

// keepsHandshake reports whether the handshake of a webhook stays when its format
// changes: from one mode of CloudEvents to the other, and on the way to ACR, the
// owner's choice does. The other formats are those of services that do not know
// the question.
func (f Format) keepsHandshake(next Format) bool {
	return f == next || next == ACR || f.tellsCloudEvents() && next.tellsCloudEvents()
}
