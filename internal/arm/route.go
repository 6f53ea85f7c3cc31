package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// provider is the namespace of what this server has.
const provider = "Microsoft.ContainerRegistry"

// level is within what a route's path begins.
type level int

const (
	ofServer level = iota
	ofSubscription
	ofGroup
	ofRegistry
)

// noun names what a level's paths are within, for people.
func (l level) noun() string {
	return [...]string{"the server", "a subscription", "a resource group", "a registry"}[l]
}

// route is one operation and its place.
type route struct {
	level  level
	method string
	path   []string // matched in any case; "*" stands for a name, and there are two at most

	// action is what the caller must be allowed, in ARM's words. Those that end
	// in /read change nothing and show no secret; others are put on record, unless
	// they are among reads.
	action string

	// each says that the operation shows of many things those that the caller may
	// read, and is open to every caller who is known.
	each bool

	run func(*api, call) (answer, error)
}

// The beginnings of actions.
const (
	aRegistry     = provider + "/registries"
	aWebhook      = aRegistry + "/webhooks"
	aReplication  = aRegistry + "/replications"
	aScopeMap     = aRegistry + "/scopeMaps"
	aToken        = aRegistry + "/tokens"
	aListener     = aRegistry + "/listeners"         // not Azure's
	aCollection   = provider + "/garbageCollections" // not Azure's
	aSubscription = "Microsoft.Resources/subscriptions"
	aGroup        = aSubscription + "/resourceGroups"
	aSigningKey   = provider + "/signingKeys" // not Azure's
)

// The actions of the audit log, which is not Azure's. They do not end in /read, so
// that a Reader does not have them: the log tells of people.
const (
	queryAuditLog  = aRegistry + "/auditLog/query/action"
	queryServerLog = provider + "/auditLog/query/action"
)

// The actions that handlers ask for, of each thing that they show.
const (
	readRegistry = aRegistry + "/read"
	readWebhook  = aWebhook + "/read"
	readGroup    = aGroup + "/read"
)

// routes are all operations.
var routes []route

func init() { // not a literal: the list of operations that it holds is made of it
	routes = []route{
		{ofServer, http.MethodGet, []string{"subscriptions"}, aSubscription + "/read", true, listSubscriptions},
		{ofServer, http.MethodGet, []string{"tenants"}, "Microsoft.Resources/tenants/read", true, listDirectories},
		{ofServer, http.MethodGet, []string{"providers", provider, "operations"}, provider + "/operations/read", true, listOperations},
		{ofServer, http.MethodGet, []string{"providers", eventGrid, "operations"}, eventGrid + "/operations/read", true, listOperations},
		{ofServer, http.MethodGet, []string{"providers", eventGrid, "topicTypes"}, aTopicType + "/read", true, listTopicTypes},
		{ofServer, http.MethodGet, []string{"providers", eventGrid, "topicTypes", "*"}, aTopicType + "/read", true, getTopicType},
		{ofServer, http.MethodGet, []string{"providers", eventGrid, "topicTypes", "*", "eventTypes"}, aTopicType + "/eventTypes/read", true, listEventTypes},

		{ofSubscription, http.MethodGet, nil, aSubscription + "/read", true, getSubscription},
		{ofSubscription, http.MethodGet, []string{"locations"}, aSubscription + "/locations/read", true, listLocations},
		{ofSubscription, http.MethodGet, []string{"resources"}, aSubscription + "/resources/read", true, listResources},
		{ofSubscription, http.MethodGet, []string{"resourceGroups"}, readGroup, true, listGroups},
		{ofSubscription, http.MethodGet, []string{"providers"}, aSubscription + "/providers/read", true, listProviders},
		{ofSubscription, http.MethodGet, []string{"providers", "*"}, aSubscription + "/providers/read", true, getProvider},
		{ofSubscription, http.MethodPost, []string{"providers", eventGrid, "register"}, eventGrid + "/register/action", false, getProvider},
		{ofSubscription, http.MethodPost, []string{"providers", "*", "register"}, provider + "/register/action", false, getProvider},
		{ofSubscription, http.MethodGet, []string{"providers", provider, "registries"}, readRegistry, true, listRegistries},
		{ofSubscription, http.MethodGet, []string{"providers", provider, "auditLog"}, queryServerLog, false, getAuditLog},
		{ofSubscription, http.MethodGet, []string{"providers", provider, "signingKeys"}, aSigningKey + "/read", false, listSigningKeys},
		{ofSubscription, http.MethodPost, []string{"providers", provider, "signingKeys", "rotate"}, aSigningKey + "/rotate/action", false, rotateSigningKey},
		{ofSubscription, http.MethodPost, []string{"providers", provider, "checkNameAvailability"}, provider + "/checkNameAvailability/read", false, checkName},
		{ofSubscription, http.MethodGet, []string{"providers", provider, "garbageCollections"}, aCollection + "/read", false, listCollections},
		{ofSubscription, http.MethodPost, []string{"providers", provider, "garbageCollections"}, aCollection + "/write", false, startCollection},
		{ofSubscription, http.MethodGet, []string{"providers", provider, "garbageCollections", "*"}, aCollection + "/read", false, getCollection},
		{ofSubscription, http.MethodPost, []string{"providers", provider, "garbageCollections", "*", "cancel"}, aCollection + "/cancel/action", false, cancelCollection},

		{ofSubscription, http.MethodGet, []string{"providers", eventGrid, "eventSubscriptions"}, readEventSubscription, true, listGlobalSubscriptions},
		{ofSubscription, http.MethodGet, []string{"providers", eventGrid, "topicTypes", "*", "eventSubscriptions"}, readEventSubscription, true, listGlobalSubscriptions},
		{ofSubscription, http.MethodGet, []string{"providers", eventGrid, "locations", "*", "eventSubscriptions"}, readEventSubscription, true, listRegionalSubscriptions},
		{ofSubscription, http.MethodGet, []string{"providers", eventGrid, "locations", "*", "topicTypes", "*", "eventSubscriptions"}, readEventSubscription, true, listRegionalSubscriptions},

		{ofGroup, http.MethodGet, nil, readGroup, false, getGroup},
		{ofGroup, http.MethodHead, nil, readGroup, false, headGroup},
		{ofGroup, http.MethodPut, nil, aGroup + "/write", false, putGroup},
		{ofGroup, http.MethodDelete, nil, aGroup + "/delete", false, deleteGroup},
		{ofGroup, http.MethodGet, []string{"resources"}, aGroup + "/resources/read", true, listResources},
		{ofGroup, http.MethodGet, []string{"providers", provider, "registries"}, readRegistry, true, listRegistries},

		{ofGroup, http.MethodGet, []string{"providers", eventGrid, "eventSubscriptions"}, readEventSubscription, true, listGlobalSubscriptions},
		{ofGroup, http.MethodGet, []string{"providers", eventGrid, "topicTypes", "*", "eventSubscriptions"}, readEventSubscription, true, listGlobalSubscriptions},
		{ofGroup, http.MethodGet, []string{"providers", eventGrid, "locations", "*", "eventSubscriptions"}, readEventSubscription, true, listRegionalSubscriptions},
		{ofGroup, http.MethodGet, []string{"providers", eventGrid, "locations", "*", "topicTypes", "*", "eventSubscriptions"}, readEventSubscription, true, listRegionalSubscriptions},

		{ofRegistry, http.MethodGet, nil, readRegistry, false, getRegistry},
		{ofRegistry, http.MethodPut, nil, aRegistry + "/write", false, putRegistry},
		{ofRegistry, http.MethodPatch, nil, aRegistry + "/write", false, patchRegistry},
		{ofRegistry, http.MethodDelete, nil, aRegistry + "/delete", false, deleteRegistry},
		{ofRegistry, http.MethodGet, []string{"listUsages"}, aRegistry + "/listUsages/read", false, listUsages},
		{ofRegistry, http.MethodPost, []string{"listCredentials"}, aRegistry + "/listCredentials/action", false, listCredentials},
		{ofRegistry, http.MethodPost, []string{"regenerateCredential"}, aRegistry + "/regenerateCredential/action", false, regenerateCredential},
		{ofRegistry, http.MethodPost, []string{"importImage"}, aRegistry + "/importImage/action", false, importImage},
		{ofRegistry, http.MethodPost, []string{"generateCredentials"}, aRegistry + "/generateCredentials/action", false, generateCredentials},
		{ofRegistry, http.MethodGet, []string{"auditLog"}, queryAuditLog, false, getAuditLog},
		{ofRegistry, http.MethodGet, []string{"events"}, aRegistry + "/events/read", false, readFeed},
		{ofRegistry, http.MethodGet, []string{"events", "*"}, aRegistry + "/events/read", false, readFeedEvent},
		{ofRegistry, http.MethodGet, []string{"statistics"}, aRegistry + "/statistics/read", false, getStatistics},
		{ofRegistry, http.MethodPost, []string{"listeners"}, aListener + "/write", false, createListener},
		{ofRegistry, http.MethodGet, []string{"listeners", "*", "deliveries"}, aListener + "/listen/action", false, listenToDeliveries},
		{ofRegistry, http.MethodPost, []string{"listeners", "*", "results"}, aListener + "/listen/action", false, reportResult},
		{ofRegistry, http.MethodDelete, []string{"listeners", "*"}, aListener + "/delete", false, deleteListener},
		{ofRegistry, http.MethodGet, []string{"providers", eventGrid, "extensionTopics", "default"}, eventGrid + "/extensionTopics/read", false, getExtensionTopic},
		{ofRegistry, http.MethodGet, []string{"replications"}, aReplication + "/read", false, listReplications},
		{ofRegistry, http.MethodPut, []string{"replications", "*"}, aReplication + "/write", false, putReplication},
		{ofRegistry, http.MethodPatch, []string{"replications", "*"}, aReplication + "/write", false, patchReplication},
		{ofRegistry, http.MethodDelete, []string{"replications", "*"}, aReplication + "/delete", false, deleteReplication},
		{ofRegistry, http.MethodGet, []string{"replications", "*"}, aReplication + "/read", false, getReplication},
		{ofRegistry, http.MethodGet, []string{"scopeMaps"}, aScopeMap + "/read", false, listScopeMaps},
		{ofRegistry, http.MethodPut, []string{"scopeMaps", "*"}, aScopeMap + "/write", false, putScopeMap},
		{ofRegistry, http.MethodPatch, []string{"scopeMaps", "*"}, aScopeMap + "/write", false, patchScopeMap},
		{ofRegistry, http.MethodDelete, []string{"scopeMaps", "*"}, aScopeMap + "/delete", false, deleteScopeMap},
		{ofRegistry, http.MethodGet, []string{"scopeMaps", "*"}, aScopeMap + "/read", false, getScopeMap},
		{ofRegistry, http.MethodGet, []string{"tokens"}, aToken + "/read", false, listTokens},
		{ofRegistry, http.MethodPut, []string{"tokens", "*"}, aToken + "/write", false, putToken},
		{ofRegistry, http.MethodPatch, []string{"tokens", "*"}, aToken + "/write", false, patchToken},
		{ofRegistry, http.MethodDelete, []string{"tokens", "*"}, aToken + "/delete", false, deleteToken},
		{ofRegistry, http.MethodGet, []string{"tokens", "*"}, aToken + "/read", false, getToken},
		{ofRegistry, http.MethodGet, []string{"webhooks"}, readWebhook, false, listWebhooks},
		{ofRegistry, http.MethodPut, []string{"webhooks", "*"}, aWebhook + "/write", false, putWebhook},
		{ofRegistry, http.MethodPatch, []string{"webhooks", "*"}, aWebhook + "/write", false, patchWebhook},
		{ofRegistry, http.MethodDelete, []string{"webhooks", "*"}, aWebhook + "/delete", false, deleteWebhook},
		{ofRegistry, http.MethodGet, []string{"webhooks", "*"}, readWebhook, false, getWebhook},
		{ofRegistry, http.MethodPost, []string{"webhooks", "*", "ping"}, aWebhook + "/ping/action", false, pingWebhook},
		{ofRegistry, http.MethodPost, []string{"webhooks", "*", "test"}, aWebhook + "/test/action", false, testWebhook},
		{ofRegistry, http.MethodPost, []string{"webhooks", "*", "handshake"}, aWebhook + "/handshake/action", false, handshakeWebhook},
		{ofRegistry, http.MethodPost, []string{"webhooks", "*", "getCallbackConfig"}, aWebhook + "/getCallbackConfig/action", false, getCallbackConfig},
		{ofRegistry, http.MethodPost, []string{"webhooks", "*", "rotateSecret"}, aWebhook + "/rotateSecret/action", false, rotateSecret},
	}
	routes = append(routes, endpointRoutes([]string{"webhooks", "*"}, aWebhook, webhookEndpoint)...)
	routes = append(routes, eventSubscriptionRoutes()...)
	routes = append(routes, systemTopicRoutes()...)
}

// place is where a path leads.
type place struct {
	level level
	short bool // the path is under Root

	// What the path is within, as it has it; empty for what it does not name.
	subscription, group, registry string

	rest    []string // the path within that
	implied int      // of rest, segments that the short root leaves out
	sent    string   // the path up to rest, as it was sent
}

// shown returns rest as it was sent.
func (p place) shown() []string { return p.rest[p.implied:] }

// Handles reports whether a path is the control plane's.
func Handles(path string) bool {
	segments := splitPath(path)
	if len(segments) == 0 {
		return false
	}
	return slices.ContainsFunc([]string{"api", "subscriptions", "tenants", "providers"}, func(first string) bool { return strings.EqualFold(first, segments[0]) })
}

// ofProvider are the things of the whole server that are beside the registries
// under the short root.
var ofProvider = []string{"auditLog", "signingKeys", "garbageCollections"}

// parsePath reads a path of either root. Whether there is anything at it is for
// findRoute to say.
func parsePath(path string) place {
	segments := splitPath(path)
	at := func(within level, n int, p place) place {
		p.level, p.rest, p.sent = within, segments[n:], "/"+strings.Join(segments[:n], "/")
		return p
	}
	root := splitPath(Root)
	if hasPrefix(segments, root...) {
		if len(segments) == len(root) {
			p := at(ofSubscription, len(root), place{short: true})
			p.rest = []string{"providers", provider, "registries"}
			return p
		}
		p := at(ofRegistry, len(root)+1, place{short: true, registry: segments[len(root)]})
		if hasPrefix(p.rest, "eventSubscriptions") {
			namespace := []string{"providers", eventGrid}
			p.rest, p.implied = append(namespace, p.rest...), len(namespace)
		}
		return p
	}
	if p := len(root) - 1; hasPrefix(segments, root[:p]...) && slices.ContainsFunc(ofProvider, func(first string) bool { return hasPrefix(segments[p:], first) }) {
		whole := at(ofSubscription, p, place{short: true})
		whole.rest = append([]string{"providers", provider}, whole.rest...)
		return whole
	}
	if !hasPrefix(segments, "subscriptions", "*") {
		return at(ofServer, 0, place{short: hasPrefix(segments, root[0])})
	}
	p := place{subscription: segments[1]}
	if !hasPrefix(segments[2:], "resourceGroups", "*") {
		return at(ofSubscription, 2, p)
	}
	p.group = segments[3]
	if !hasPrefix(segments[4:], "providers", provider, "registries", "*") {
		return at(ofGroup, 4, p)
	}
	p.registry = segments[7]
	return at(ofRegistry, 8, p)
}

// hasPrefix reports whether a path begins with what pattern stands for.
func hasPrefix(path []string, pattern ...string) bool {
	if len(path) < len(pattern) {
		return false
	}
	for i, want := range pattern {
		if want == "*" && path[i] == "" || want != "*" && !strings.EqualFold(path[i], want) {
			return false
		}
	}
	return true
}

// findRoute returns the operation for method and place, and the names in its
// path, the outer one first. For a path that takes other methods it sets Allow.
func findRoute(h http.Header, method string, p place) (found route, names [2]string, err error) {
	var allowed []string
	for _, rt := range routes {
		names, ok := match(rt.path, p.rest)
		if !ok || rt.level != p.level {
			continue
		}
		if rt.method == method {
			return rt, names, nil
		}
		allowed = append(allowed, rt.method)
	}
	if method == http.MethodHead && slices.Contains(allowed, http.MethodGet) {
		return findRoute(h, http.MethodGet, p)
	}
	if allowed == nil && p.level == ofServer {
		return route{}, [2]string{}, fault.New(fault.NotFound, "nothing is at %q: the registries are at %s, garbage collections at %s, and where ARM has them below /subscriptions",
			clip("/"+strings.Join(p.rest, "/")), Root, CollectionsRoot)
	}
	if allowed == nil {
		return route{}, [2]string{}, fault.New(fault.NotFound, "nothing is at %q in %s: %s", clip(strings.Join(p.shown(), "/")), p.level.noun(), below(p))
	}
	slices.Sort(allowed)
	h.Set("Allow", strings.Join(allowed, ", "))
	what := clip(strings.Join(p.shown(), "/"))
	switch {
	case p.short && p.level == ofSubscription && len(p.rest) == 3 && strings.EqualFold(p.rest[2], "registries"):
		what = Root
	case p.short && p.level == ofSubscription:
		what = clip(strings.Join(p.rest[2:], "/"))
	case what == "":
		what = p.level.noun() + " itself"
	}
	return route{}, [2]string{}, fault.New(fault.Unsupported, "%s takes %s, not %s", what, strings.Join(allowed, " or "), clip(method))
}

// match reports whether path is one that pattern, of a route, stands for, and
// returns the names in it.
func match(pattern, path []string) (names [2]string, ok bool) {
	if len(path) != len(pattern) || !hasPrefix(path, pattern...) {
		return names, false
	}
	n := 0
	for i, want := range pattern {
		if want == "*" {
			names[n] = path[i]
			n++
		}
	}
	return names, true
}

// below tells what there is below as much of a path as leads somewhere.
func below(p place) string {
	path := p.shown()
	for known := len(path); ; known-- {
		var children []string
		for _, rt := range routes {
			there := rt.path
			if p.short && hasPrefix(there, "providers", eventGrid, "eventSubscriptions") {
				there = there[2:]
			}
			if rt.level != p.level || len(there) <= known {
				continue
			}
			if _, ok := match(there[:known], path[:known]); ok {
				children = append(children, strings.Replace(there[known], "*", "{name}", 1))
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
