package outbound

import "strings"

// HopsHeader names the servers that a chain of events came through, each by its
// id, divided by commas: a registry that rings a registry can make a circle, and
// the header ends it. Every request carries it, with the sender's id at its end.
const HopsHeader = "Dockbell-Hops"

// MaxHops is how many servers a chain of events may come through.
const MaxHops = 8

// maxHopsLength bounds the value of a HopsHeader, in bytes.
const maxHopsLength = 1 << 10

// Loop reports whether a request with these hops came back to the server with
// this id, or came through so many that it may never end.
func Loop(hops, id string) bool {
	if len(hops) > maxHopsLength {
		return true
	}
	n := 0
	for hop := range strings.SplitSeq(hops, ",") {
		if hop = strings.TrimSpace(hop); hop == "" {
			continue
		}
		if n++; hop == id || n > MaxHops {
			return true
		}
	}
	return false
}

// NextHops returns the HopsHeader with which the server with this id sends r, if
// another than a Client does it.
func (r *Request) NextHops(id string) string { return appendHop(r.Hops, id) }

// appendHop returns the value that this server sends.
func appendHop(hops, id string) string {
	if hops = strings.TrimSpace(hops); hops == "" {
		return id
	}
	return hops + ", " + id
}
