package event

import (
	"strings"
	"unicode"
)

// The wire form of what starts a pipeline of GitLab, beside token and ref, which
// are in the query. Values have to be strings; what there is not of an event has no
// variable.
type (
	gitlabTrigger struct {
		Variables gitlabVariables `json:"variables"`
	}
	gitlabVariables struct {
		Action         Action `json:"DOCKBELL_ACTION"`
		EventID        string `json:"DOCKBELL_EVENT_ID"`
		Timestamp      string `json:"DOCKBELL_TIMESTAMP"`
		Test           string `json:"DOCKBELL_TEST,omitempty"` // true: a sample, since pipelines see no header
		Registry       string `json:"DOCKBELL_REGISTRY"`       // login server
		Location       string `json:"DOCKBELL_LOCATION,omitempty"`
		Repository     string `json:"DOCKBELL_REPOSITORY,omitempty"`
		Tag            string `json:"DOCKBELL_TAG,omitempty"`
		Digest         string `json:"DOCKBELL_DIGEST,omitempty"`
		Image          string `json:"DOCKBELL_IMAGE,omitempty"`
		PreviousDigest string `json:"DOCKBELL_PREVIOUS_DIGEST,omitempty"` // of a tag_moved
		SubjectDigest  string `json:"DOCKBELL_SUBJECT_DIGEST,omitempty"`  // of a referrer_attached
		ArtifactType   string `json:"DOCKBELL_ARTIFACT_TYPE,omitempty"`   // of a referrer_attached
		Chart          string `json:"DOCKBELL_CHART,omitempty"`
		ChartVersion   string `json:"DOCKBELL_CHART_VERSION,omitempty"`
		Webhook        string `json:"DOCKBELL_WEBHOOK,omitempty"`   // of a webhook_failing
		Condition      string `json:"DOCKBELL_CONDITION,omitempty"` // of a webhook_failing
		Actor          string `json:"DOCKBELL_ACTOR,omitempty"`
	}
)

// GitLabTrigger returns e as the body of GitLab's "trigger a pipeline with a
// token": one compact JSON object, of BinaryType, with the variables of the
// pipeline. It has less than MaxBody bytes whatever strangers sent.
func GitLabTrigger(e *Event) []byte {
	t := e.Target
	v := gitlabVariables{
		Action: e.Action, EventID: e.ID, Timestamp: timestamp(e), Registry: variable(e.Registry.LoginServer), Location: variable(e.Registry.Location),
		Actor: variable(e.Actor),
	}
	if e.Sample {
		v.Test = "true"
	}
	if i := imageOf(e); i.isThere() {
		v.Repository, v.Tag, v.Digest, v.Image = variable(i.repository), variable(i.tag), variable(i.digest), variable(i.reference())
	}
	switch e.Action {
	case TagMoved:
		v.PreviousDigest = variable(t.PreviousDigest)
	case ReferrerAttached:
		v.SubjectDigest, v.ArtifactType = variable(t.SubjectDigest), variable(t.ArtifactType)
	case ChartPush, ChartDelete:
		v.Digest, v.Chart, v.ChartVersion = variable(t.Digest), variable(t.Name), variable(t.Version)
	case WebhookFailing:
		if e.Webhook == nil {
			break
		}
		v.Webhook, v.Condition = variable(e.Webhook.Name), variable(e.Webhook.Condition)
	}
	return compact(gitlabTrigger{v})
}

// variable returns a text as the value of a variable. GitLab and its runners put
// other variables, secret ones among them, in the place of $NAME and %NAME% in a
// value; no name of an image has these characters, and in what strangers choose
// they become underscores.
func variable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '$' || r == '%':
			return '_'
		case !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, cut(s, maxText))
}
