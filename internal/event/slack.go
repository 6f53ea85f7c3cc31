package event

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The wire form of a message to an incoming webhook of Slack. Slack shows the
// blocks, and the text where there is room for no more; Mattermost and Discord,
// which take such messages too, show the text alone.
type (
	slackMessage struct {
		Text   string       `json:"text"`
		Blocks []slackBlock `json:"blocks"`
	}
	slackBlock struct {
		Type     string      `json:"type"`               // section or context
		Text     *slackText  `json:"text,omitempty"`     // of a section
		Elements []slackText `json:"elements,omitempty"` // of a context
	}
	slackText struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Verbatim bool   `json:"verbatim"` // no links and mentions are looked for in it
	}
)

// What is kept of texts in a message, in bytes as they are written. Together, with
// the words between them, they stay below 2,000, which is all that Discord takes;
// Slack takes 3,000.
const (
	maxSlackImage = 400 // the longest names of repository and tag are shorter
	maxSlackName  = 260
	maxSlackError = 600
)

// SlackMessage returns e as the body for an incoming webhook of Slack: one compact
// JSON object, of BinaryType, that tells a person in a sentence what happened, and
// in a second line what belongs to it. What strangers chose stands as code in it, in
// which nothing is a link, a mention or a format.
func SlackMessage(e *Event) []byte {
	sentence, details := slackSentence(e), slackDetails(e)
	if e.Sample {
		sentence = "Test, nothing happened: " + sentence
	}
	return compact(slackMessage{
		Text: sentence + "\n" + details,
		Blocks: []slackBlock{
			{Type: "section", Text: &slackText{"mrkdwn", sentence, true}},
			{Type: "context", Elements: []slackText{{"mrkdwn", details, true}}},
		},
	})
}

// slackSentence says what happened, where, and who did it.
func slackSentence(e *Event) string {
	t, i := e.Target, imageOf(e)
	if i.tag == "" {
		i.digest = shortDigest(i.digest)
	}
	name := slackCode(i.name(), maxSlackImage)
	chart := "Chart " + slackCode(t.Name+" "+t.Version, maxSlackImage)
	where := slackCode(e.Registry.LoginServer, maxSlackName)
	by := ""
	if e.Actor != "" {
		by = " by " + slackCode(e.Actor, maxSlackName)
	}
	switch e.Action {
	case Push:
		return name + " was pushed to " + where + by
	case Delete:
		return name + " was deleted from " + where + by
	case Quarantine:
		return name + " was pushed to " + where + by + " and is up for quarantine"
	case ChartPush:
		return chart + " was pushed to " + where + by
	case ChartDelete:
		return chart + " was deleted from " + where + by
	case Untag:
		return "Tag " + name + " was removed from " + where + by
	case TagMoved:
		return "Tag " + name + " was moved in " + where + by + ", from " + slackDigest(t.PreviousDigest) + " to " + slackDigest(t.Digest)
	case ReferrerAttached:
		what := "An artifact"
		if t.ArtifactType != "" {
			what = slackCode(t.ArtifactType, maxSlackName)
		}
		return what + " was attached to " + slackCode(t.Repository+"@"+shortDigest(t.SubjectDigest), maxSlackImage) + " in " + where + by
	case Pull:
		return name + " was pulled from " + where + by
	case Ping:
		return "Ping from " + where + ": this webhook works"
	case WebhookFailing:
		if e.Webhook != nil {
			return slackCondition(e.Webhook, where)
		}
	}
	return slackCode(string(e.Action), maxSlackName) + " in " + where + by
}

// slackCondition says how a webhook fares.
func slackCondition(w *Webhook, where string) string {
	name := "Webhook " + slackCode(w.Name, maxSlackName) + " of " + where
	fails := "since " + slackTime(w.Since)
	switch {
	case w.LastError != "":
		fails += ": " + slackCode(w.LastError, maxSlackError)
	case w.LastStatus != 0:
		fails += fmt.Sprintf(": the last answer was %d", w.LastStatus)
	}
	switch w.Condition {
	case "recovered":
		return name + " works again"
	case "disabled":
		return name + " was disabled: it failed " + fails
	case "disabling":
		return fmt.Sprintf("%s is %d %% of the way to being disabled: it fails %s", name, w.Progress, fails)
	}
	return name + " fails " + fails
}

// slackDetails is the second line: digest, region, client, cause and moment, as far
// as there are any.
func slackDetails(e *Event) string {
	var details []string
	add := func(what, value string) {
		if value != "" {
			details = append(details, what+" "+value)
		}
	}
	if i := imageOf(e); i.isThere() && (i.tag != "" || e.Action == ReferrerAttached) && e.Action != TagMoved {
		add("digest", slackDigest(e.Target.Digest))
	}
	if e.Registry.Location != "" {
		add("region", slackCode(e.Registry.Location, maxSlackName))
	}
	if client, _, _ := strings.Cut(e.Request.UserAgent, " "); client != "" {
		add("client", slackCode(client, maxSlackName))
	}
	if e.Cause != "" && e.Action != WebhookFailing {
		add("cause", slackCode(e.Cause, maxSlackName))
	}
	return strings.Join(append(details, slackTime(e.At)), " · ")
}

func slackDigest(digest string) string {
	if digest == "" {
		return ""
	}
	return slackCode(shortDigest(digest), maxSlackName)
}

func slackTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// slackCode returns a text as code, of which at most so many bytes are kept. The
// three characters that Slack reads as its own are escaped, what would end the
// code or is not printable is replaced.
func slackCode(s string, most int) string {
	var b strings.Builder
	for _, r := range s {
		piece := string(r)
		switch {
		case r == '&':
			piece = "&amp;"
		case r == '<':
			piece = "&lt;"
		case r == '>':
			piece = "&gt;"
		case r == '`':
			piece = "'"
		case !unicode.IsPrint(r):
			piece = " "
		}
		if b.Len()+len(piece) > most {
			b.WriteString("…")
			break
		}
		b.WriteString(piece)
	}
	return "`" + b.String() + "`"
}
