package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// route is one operation and its place within a registry.
type route struct {
	method string
	path   []string // matched in any case; "*" stands for a name, and there are two at most
	run    func(*api, call) (answer, error)
}

// routes are all operations on a registry. listEvents answers GET as well: that
// is how clients follow its links to next pages.
var routes = []route{
	{http.MethodGet, nil, getRegistry},
	{http.MethodGet, []string{"events"}, readFeed},
	{http.MethodPost, []string{"listeners"}, createListener},
	{http.MethodGet, []string{"listeners", "*", "deliveries"}, listenToDeliveries},
	{http.MethodPost, []string{"listeners", "*", "results"}, reportResult},
	{http.MethodDelete, []string{"listeners", "*"}, deleteListener},
	{http.MethodGet, []string{"webhooks"}, listWebhooks},
	{http.MethodPut, []string{"webhooks", "*"}, putWebhook},
	{http.MethodPatch, []string{"webhooks", "*"}, patchWebhook},
	{http.MethodDelete, []string{"webhooks", "*"}, deleteWebhook},
	{http.MethodGet, []string{"webhooks", "*"}, getWebhook},
	{http.MethodPost, []string{"webhooks", "*", "ping"}, pingWebhook},
	{http.MethodPost, []string{"webhooks", "*", "test"}, testWebhook},
	{http.MethodPost, []string{"webhooks", "*", "handshake"}, handshakeWebhook},
	{http.MethodPost, []string{"webhooks", "*", "getCallbackConfig"}, getCallbackConfig},
	{http.MethodPost, []string{"webhooks", "*", "rotateSecret"}, rotateSecret},
	{http.MethodPost, []string{"webhooks", "*", "listEvents"}, listEvents},
	{http.MethodGet, []string{"webhooks", "*", "listEvents"}, listEvents},
	{http.MethodPost, []string{"webhooks", "*", "pause"}, pauseWebhook},
	{http.MethodPost, []string{"webhooks", "*", "resume"}, resumeWebhook},
	{http.MethodPost, []string{"webhooks", "*", "redeliver"}, redeliver},
	{http.MethodPost, []string{"webhooks", "*", "replays"}, postReplay},
	{http.MethodGet, []string{"webhooks", "*", "replays"}, listReplays},
	{http.MethodGet, []string{"webhooks", "*", "replays", "*"}, getReplay},
	{http.MethodDelete, []string{"webhooks", "*", "replays", "*"}, cancelReplay},
	{http.MethodGet, []string{"webhooks", "*", "deadLetters"}, listDeadLetters},
	{http.MethodPost, []string{"webhooks", "*", "deadLetters", "purge"}, purgeDeadLetters},
}

// findRoute returns the operation for method and path, and the names in it, the
// outer one first. For a path that takes other methods it sets Allow.
func findRoute(h http.Header, method string, path []string) (found route, names [2]string, err error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allowed []string
	for _, rt := range routes {
		names, ok := match(rt.path, path)
		if !ok {
			continue
		}
		if rt.method == method {
			return rt, names, nil
		}
		allowed = append(allowed, rt.method)
	}
	if allowed == nil {
		return route{}, [2]string{}, fault.New(fault.NotFound, "nothing is at %q in a registry: %s", clip(strings.Join(path, "/")), below(path))
	}
	slices.Sort(allowed)
	h.Set("Allow", strings.Join(allowed, ", "))
	what := "the registry itself"
	if len(path) > 0 {
		what = clip(strings.Join(path, "/"))
	}
	return route{}, [2]string{}, fault.New(fault.Unsupported, "%s takes %s, not %s", what, strings.Join(allowed, " or "), clip(method))
}

// match reports whether path is one that pattern, of a route, stands for, and
// returns the names in it.
func match(pattern, path []string) (names [2]string, ok bool) {
	if len(path) != len(pattern) {
		return names, false
	}
	n := 0
	for i, want := range pattern {
		if want == "*" {
			names[n] = path[i]
			n++
		} else if !strings.EqualFold(path[i], want) {
			return [2]string{}, false
		}
	}
	return names, true
}

// below tells what there is below as much of path as leads somewhere.
func below(path []string) string {
	for known := len(path); ; known-- {
		var children []string
		for _, rt := range routes {
			if len(rt.path) <= known {
				continue
			}
			if _, ok := match(rt.path[:known], path[:known]); ok {
				children = append(children, strings.Replace(rt.path[known], "*", "{name}", 1))
			}
		}
		if children == nil && known > 0 {
			continue
		}
		slices.Sort(children)
		what := "it"
		if known > 0 {
			what = clip(strings.Join(path[:known], "/"))
		}
		return what + " has " + strings.Join(slices.Compact(children), ", ")
	}
}

// cutRoot returns the segments of a path behind Root; ok is false for a path that
// is not under it.
func cutRoot(path string) (rest []string, ok bool) {
	rest = splitPath(path)
	for _, want := range splitPath(Root) {
		if len(rest) == 0 || !strings.EqualFold(rest[0], want) {
			return nil, false
		}
		rest = rest[1:]
	}
	return rest, true
}

// splitPath returns the segments of a decoded path. One slash at the end is
// forgiven. No name in the control plane has a slash, so an encoded one
// separates like any other.
func splitPath(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}
