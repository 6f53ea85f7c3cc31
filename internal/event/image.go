package event

import "strings"

// image names what an event is about, where that is an image: as whoever pulls it
// writes it. The zero value is for events about something else.
type image struct {
	registry   string // its login server
	repository string
	tag        string // empty where the event is about a manifest, or all its tags
	digest     string
}

func imageOf(e *Event) image {
	if e.Target.Repository == "" || e.Action == ChartPush || e.Action == ChartDelete {
		return image{}
	}
	i := image{e.Registry.LoginServer, e.Target.Repository, e.Target.Tag, e.Target.Digest}
	if e.Action == Delete {
		i.tag = "" // as in ACR's body
	}
	return i
}

func (i image) isThere() bool { return i != image{} }

// name returns repository:tag, or repository@digest without a tag.
func (i image) name() string {
	if i.tag == "" {
		return i.repository + "@" + i.digest
	}
	return i.repository + ":" + i.tag
}

// reference returns what is pulled; empty where there is no image.
func (i image) reference() string {
	if !i.isThere() {
		return ""
	}
	return i.registry + "/" + i.name()
}

// shortDigest returns as much of a digest as people look at.
func shortDigest(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return algorithm + ":" + cut(hex, 12)
}
