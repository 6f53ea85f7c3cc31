package event

import "unicode/utf8"

// What is in every event in Event Grid's schema, the longer one, beside the values:
// names, quotes, versions, moments, and the comma after it.
const (
	envelopeSize = len(`{"id":"","topic":"","subject":"","eventType":"","eventTime":"","data":{"id":"","timestamp":"","action":""},"dataVersion":"","metadataVersion":""},`) +
		len(DataVersion+MetadataVersion) + len(sevenDigits) + len(nineDigits)
	requestSize = len(`,"request":{"id":"","host":""}`)
	webhookSize = len(`"webhook":"","condition":"","since":"","lastStatus":000,"lastError":"","progress":00,`) + len(sevenDigits)
)

// EncodedSize returns about how many bytes e takes in a batch, in either schema,
// without encoding it: not less than nine tenths, nor more than a third too much.
func EncodedSize(e *Event) int {
	n := envelopeSize + 2*textSize(e.ID) + textSize(Source(e)) + textSize(Subject(e)) + len(EventGridType(e.Action)) + len(e.Action) +
		memberSize("location", e.Registry.Location)
	if e.Registry.Connected != "" {
		n += len(`,"connectedRegistry":{}`) + memberSize("name", e.Registry.Connected)
	}
	data := newEventData(e)
	switch t := data.Target.(type) {
	case *acrTarget:
		n += t.size()
	case *beyondTarget:
		n += t.acrTarget.size() + memberSize("previousDigest", t.PreviousDigest) + memberSize("subjectDigest", t.SubjectDigest) + memberSize("artifactType", t.ArtifactType)
	case *acrWebhook:
		n += len(`,"target":{}`) + webhookSize + textSize(t.Webhook) + textSize(t.Condition) + textSize(t.LastError)
	}
	if r := data.Request; r != nil {
		n += requestSize + textSize(r.ID) + textSize(r.Host) + memberSize("method", r.Method) + memberSize("addr", r.Addr) + memberSize("useragent", r.UserAgent)
	}
	if a := data.Actor; a != nil {
		n += len(`,"actor":{}`) + memberSize("name", a.Name)
	}
	if s := data.Source; s != nil {
		n += len(`,"source":{}`) + memberSize("addr", s.Addr) + memberSize("instanceID", s.InstanceID)
	}
	return n
}

func (t *acrTarget) size() int {
	n := len(`,"target":{}`) + memberSize("mediaType", t.MediaType) + memberSize("digest", t.Digest) + memberSize("repository", t.Repository) +
		memberSize("tag", t.Tag) + memberSize("url", t.URL) + memberSize("name", t.Name) + memberSize("version", t.Version)
	for _, size := range [...]int64{t.Size, t.Length} {
		if size != 0 {
			n += len(`"length":,`) + digits(size)
		}
	}
	return n
}

// memberSize returns what a member with a text takes, which is left out if empty.
func memberSize(name, text string) int {
	if text == "" {
		return 0
	}
	return len(name) + len(`"":"",`) + textSize(text)
}

// textSize returns how many bytes a text takes in JSON, between the quotes.
func textSize(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		case c >= utf8.RuneSelf:
			r, width := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && width == 1 || r == '\u2028' || r == '\u2029' {
				n += len(`\ufffd`) - width
			}
			i += width - 1
		}
	}
	return n
}

// digits returns how many n has.
func digits(n int64) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}
