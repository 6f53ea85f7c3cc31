package filter

import (
	"github.com/dockbell/dockbell/internal/event"
)

// View is an event as filters look at it. What they look at is computed once, when
// the first of them does: one View serves all filters of an event, one after the
// other.
type View struct {
	event *event.Event
	types uint32 // the bit of its type; 0 for one that no filter takes

	subjectKnown    bool
	subject, folded string

	members *viewMembers
}

type viewMembers struct {
	content *event.Content
	known   [event.Keys]bool
	values  [event.Keys]value
}

// typeBits has the bit of each action's type.
var typeBits = func() map[event.Action]uint32 {
	all := map[event.Action]uint32{}
	for _, a := range event.Subscribable {
		all[a] = typeBit(event.EventGridType(a))
	}
	return all
}()

// typeBit returns the bit of a type, 0 for what is none.
func typeBit(name string) uint32 {
	for i, t := range event.Types {
		if t == name {
			return 1 << i
		}
	}
	return 0
}

// NewView returns a view of e, which is not to be changed meanwhile. e may have been
// read without its record if no filter NeedsWhole events.
func NewView(e *event.Event) *View { return &View{event: e, types: typeBits[e.Action]} }

// subjects returns the subject of the event as it is, and folded.
func (v *View) subjects() (subject, folded string) {
	if !v.subjectKnown {
		v.subject = event.Subject(v.event)
		v.folded = fold(v.subject)
		v.subjectKnown = true
	}
	return v.subject, v.folded
}

// member returns a member of the event.
func (v *View) member(k event.Key) *value {
	if v.members == nil {
		v.members = &viewMembers{content: event.ContentOf(v.event)}
	}
	m := v.members
	if !m.known[k] {
		m.values[k] = valueOf(m.content.Member(k))
		m.known[k] = true
	}
	return &m.values[k]
}

// kind is what a member is.
type kind uint8

const (
	missing kind = iota // or null
	text
	number
	boolean
	object
	array
)

// value is a member as conditions compare it.
type value struct {
	kind   kind
	text   string // folded
	number float64
	yes    bool
	elems  []value // of an array
}

// valueOf returns a member as a value: what package event returns, or what JSON is
// read as.
func valueOf(member any) value {
	switch m := member.(type) {
	case nil:
		return value{}
	case string:
		return value{kind: text, text: fold(m)}
	case int64:
		return value{kind: number, number: float64(m)}
	case float64:
		return value{kind: number, number: m}
	case bool:
		return value{kind: boolean, yes: m}
	case []any:
		v := value{kind: array, elems: make([]value, len(m))}
		for i, elem := range m {
			v.elems[i] = valueOf(elem)
		}
		return v
	}
	return value{kind: object}
}
