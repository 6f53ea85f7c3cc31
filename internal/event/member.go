package event

import "strings"

// Content is an event as its encodings have it, before it is written: what members
// are read from.
type Content struct{ c cloudEvent }

// ContentOf returns the content of e. Of an event that was read without its record
// it lacks what is in there alone.
func ContentOf(e *Event) *Content { return &Content{newCloudEvent(e)} }

// Key names a member that events may have. The zero Key names none.
type Key uint8

// ParseKey returns the key of a path: an attribute of either schema, such as subject
// or eventType, or data and what is below, such as data.target.repository, in any
// case. It returns the zero Key for what no event has.
func ParseKey(path string) Key { return keys[strings.ToLower(path)] }

// Member returns what the event has there, as its JSON has it: a string, an int64, or
// Object for what has members of its own. It returns nil if there is nothing.
func (c *Content) Member(k Key) any {
	if int(k) >= len(members) {
		return nil
	}
	v := members[k].of(&c.c)
	if v == "" && !members[k].always {
		return nil // left out
	}
	return v
}

// Object stands for a member that has members.
type Object struct{}

// Keys is one more than the greatest Key.
const Keys = len(members)

// member is how a member is read. A string that is empty is left out of the JSON,
// unless it is there always.
type member struct {
	paths  string // in lower case, apart by blanks
	always bool
	of     func(*cloudEvent) any
}

// members has the members of all events. The first is the zero Key's.
var members = [...]member{
	{"", false, func(*cloudEvent) any { return nil }},

	{"id", true, func(c *cloudEvent) any { return c.ID }},
	{"topic source", true, func(c *cloudEvent) any { return c.Source }},
	{"subject", false, func(c *cloudEvent) any { return c.Subject }},
	{"eventtype type", true, func(c *cloudEvent) any { return c.Type }},
	{"eventtime time", true, func(c *cloudEvent) any { return c.Time }},
	{"specversion", true, func(c *cloudEvent) any { return c.SpecVersion }},
	{"dataversion", true, func(*cloudEvent) any { return DataVersion }},
	{"metadataversion", true, func(*cloudEvent) any { return MetadataVersion }},

	{"data", true, func(*cloudEvent) any { return Object{} }},
	{"data.id", true, func(c *cloudEvent) any { return c.Data.ID }},
	{"data.timestamp", true, func(c *cloudEvent) any { return c.Data.Timestamp }},
	{"data.action", true, func(c *cloudEvent) any { return string(c.Data.Action) }},
	{"data.location", false, func(c *cloudEvent) any { return c.Data.Location }},

	{"data.target", true, func(c *cloudEvent) any {
		if c.Data.Target == nil {
			return nil
		}
		return Object{}
	}},
	{"data.target.mediatype", false, ofTarget(func(t *acrTarget) any { return t.MediaType })},
	{"data.target.size", false, ofTarget(func(t *acrTarget) any { return positive(t.Size) })},
	{"data.target.digest", false, ofTarget(func(t *acrTarget) any { return t.Digest })},
	{"data.target.length", false, ofTarget(func(t *acrTarget) any { return positive(t.Length) })},
	{"data.target.repository", false, ofTarget(func(t *acrTarget) any { return t.Repository })},
	{"data.target.tag", false, ofTarget(func(t *acrTarget) any { return t.Tag })},
	{"data.target.url", false, ofTarget(func(t *acrTarget) any { return t.URL })},
	{"data.target.name", false, ofTarget(func(t *acrTarget) any { return t.Name })},
	{"data.target.version", false, ofTarget(func(t *acrTarget) any { return t.Version })},
	{"data.target.previousdigest", false, ofBeyond(func(t *beyondTarget) any { return t.PreviousDigest })},
	{"data.target.subjectdigest", false, ofBeyond(func(t *beyondTarget) any { return t.SubjectDigest })},
	{"data.target.artifacttype", false, ofBeyond(func(t *beyondTarget) any { return t.ArtifactType })},
	{"data.target.webhook", true, ofWebhook(func(w *acrWebhook) any { return w.Webhook })},
	{"data.target.condition", true, ofWebhook(func(w *acrWebhook) any { return w.Condition })},
	{"data.target.since", true, ofWebhook(func(w *acrWebhook) any { return w.Since })},
	{"data.target.laststatus", true, ofWebhook(func(w *acrWebhook) any { return int64(w.LastStatus) })},
	{"data.target.lasterror", true, ofWebhook(func(w *acrWebhook) any { return w.LastError })},
	{"data.target.progress", true, ofWebhook(func(w *acrWebhook) any { return int64(w.Progress) })},

	{"data.request", true, ofRequest(func(*acrRequest) any { return Object{} })},
	{"data.request.id", true, ofRequest(func(r *acrRequest) any { return r.ID })},
	{"data.request.host", true, ofRequest(func(r *acrRequest) any { return r.Host })},
	{"data.request.method", false, ofRequest(func(r *acrRequest) any { return r.Method })},
	{"data.request.addr", false, ofRequest(func(r *acrRequest) any { return r.Addr })},
	{"data.request.useragent", false, ofRequest(func(r *acrRequest) any { return r.UserAgent })},

	{"data.actor", true, ofNamed(actor, func(*named) any { return Object{} })},
	{"data.actor.name", true, ofNamed(actor, func(n *named) any { return n.Name })},
	{"data.source", true, ofSource(func(*dataSource) any { return Object{} })},
	{"data.source.addr", false, ofSource(func(s *dataSource) any { return s.Addr })},
	{"data.source.instanceid", false, ofSource(func(s *dataSource) any { return s.InstanceID })},
	{"data.connectedregistry", true, ofNamed(connected, func(*named) any { return Object{} })},
	{"data.connectedregistry.name", true, ofNamed(connected, func(n *named) any { return n.Name })},
}

var keys = func() map[string]Key {
	all := map[string]Key{}
	for i, m := range members {
		for _, path := range strings.Fields(m.paths) {
			all[path] = Key(i)
		}
	}
	return all
}()

// positive returns n as a member has it that is left out when it is 0.
func positive(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

func ofTarget(of func(*acrTarget) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		switch t := c.Data.Target.(type) {
		case *acrTarget:
			return of(t)
		case *beyondTarget:
			return of(&t.acrTarget)
		}
		return nil
	}
}

func ofBeyond(of func(*beyondTarget) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		if t, ok := c.Data.Target.(*beyondTarget); ok {
			return of(t)
		}
		return nil
	}
}

func ofWebhook(of func(*acrWebhook) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		if w, ok := c.Data.Target.(*acrWebhook); ok {
			return of(w)
		}
		return nil
	}
}

func ofRequest(of func(*acrRequest) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		if c.Data.Request == nil {
			return nil
		}
		return of(c.Data.Request)
	}
}

func ofSource(of func(*dataSource) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		if c.Data.Source == nil {
			return nil
		}
		return of(c.Data.Source)
	}
}

func actor(c *cloudEvent) *named     { return c.Data.Actor }
func connected(c *cloudEvent) *named { return c.Data.Connected }

func ofNamed(which func(*cloudEvent) *named, of func(*named) any) func(*cloudEvent) any {
	return func(c *cloudEvent) any {
		if n := which(c); n != nil {
			return of(n)
		}
		return nil
	}
}
