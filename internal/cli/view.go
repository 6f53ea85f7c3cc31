package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// The views are resources as az prints them: the properties lifted to the top,
// the resource group added, and absent members as null.

func webhookView(w controlclient.Webhook) map[string]any {
	return map[string]any{
		"actions":           anys(w.Properties.Actions),
		"id":                w.ID,
		"location":          w.Location,
		"name":              w.Name,
		"provisioningState": w.Properties.ProvisioningState,
		"resourceGroup":     resourceGroup(w.ID),
		"scope":             w.Properties.Scope,
		"status":            w.Properties.Status,
		"systemData":        decoded(w.SystemData),
		"tags":              anyMap(w.Tags),
		"type":              w.Type,
	}
}

func callbackView(c controlclient.CallbackConfig) map[string]any {
	return map[string]any{
		"customHeaders": anyMap(c.CustomHeaders),
		"serviceUri":    c.ServiceURI,
		"signingSecret": c.SigningSecret,
	}
}

// registryView lifts whatever properties the server sent.
func registryView(r controlclient.Registry) map[string]any {
	view := decodedObject(r.Raw)
	properties, _ := view["properties"].(map[string]any)
	delete(view, "properties")
	maps.Copy(view, properties)
	view["resourceGroup"] = resourceGroup(r.ID)
	return view
}

func eventView(e controlclient.Event) map[string]any {
	view := decodedObject(e.Raw)
	request := withNulls(view, "eventRequestMessage", "content", "headers", "method", "requestUri", "version")
	content := withNulls(request, "content", "action", "actor", "id", "request", "source", "target", "timestamp")
	withNulls(content, "target", "digest", "length", "mediaType", "name", "repository", "size", "tag", "url", "version")
	withNulls(content, "request", "addr", "host", "id", "method", "useragent")
	withNulls(view, "eventResponseMessage", "content", "headers", "reasonPhrase", "statusCode", "version")
	return view
}

// withNulls gives the object at member the keys it lacks, as nulls, and returns
// it; nil if there is no object.
func withNulls(parent map[string]any, member string, keys ...string) map[string]any {
	object, ok := parent[member].(map[string]any)
	if !ok {
		return nil
	}
	for _, k := range keys {
		if _, ok := object[k]; !ok {
			object[k] = nil
		}
	}
	return object
}

func views[T any](list []T, view func(T) map[string]any) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = view(e)
	}
	return out
}

// resourceGroup cuts the group from an ARM id.
func resourceGroup(id string) string {
	parts := strings.Split(id, "/")
	for i, p := range parts[:len(parts)-1] {
		if strings.EqualFold(p, "resourceGroups") {
			return parts[i+1]
		}
	}
	return ""
}

// decoded returns the JSON in raw; nil if there is none.
func decoded(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

// decodedObject returns the JSON object in raw; an empty one if there is none.
func decodedObject(raw json.RawMessage) map[string]any {
	if object, ok := decoded(raw).(map[string]any); ok && object != nil {
		return object
	}
	return map[string]any{}
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func webhookTable(hooks ...controlclient.Webhook) table {
	t := table{header: []string{"NAME", "LOCATION", "ACTIONS", "SCOPE", "STATUS"}}
	for _, w := range hooks {
		p := w.Properties
		t.rows = append(t.rows, []string{w.Name, w.Location, strings.Join(p.Actions, ","), p.Scope, p.Status})
	}
	return t
}

func callbackTable(c controlclient.CallbackConfig) table {
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(c.CustomHeaders)) {
		headers = append(headers, name+"="+c.CustomHeaders[name])
	}
	return table{header: []string{"SERVICE URI", "HEADERS"}, rows: [][]string{{c.ServiceURI, strings.Join(headers, ", ")}}}
}

func eventTable(events []controlclient.Event) table {
	t := table{header: []string{"ID", "ACTION", "IMAGE", "HTTP STATUS", "TIMESTAMP"}}
	for _, e := range events {
		content := e.Request.Content
		image := content.Target.Repository
		if content.Target.Tag != "" {
			image += ":" + content.Target.Tag
		}
		status := strings.TrimSpace(e.Response.StatusCode + " " + e.Response.ReasonPhrase)
		t.rows = append(t.rows, []string{e.ID, content.Action, image, status, toSecond(content.Timestamp)})
	}
	return t
}

func registryTable(registries ...controlclient.Registry) table {
	t := table{header: []string{"NAME", "RESOURCE GROUP", "LOCATION", "SKU", "LOGIN SERVER", "CREATION DATE", "ADMIN ENABLED"}}
	for _, r := range registries {
		p := r.Properties
		admin := "False"
		if p.AdminUserEnabled {
			admin = "True"
		}
		t.rows = append(t.rows, []string{r.Name, resourceGroup(r.ID), r.Location, r.SKU.Name, p.LoginServer, toSecond(p.CreationDate), admin})
	}
	return t
}

// toSecond cuts the fraction from a UTC timestamp.
func toSecond(timestamp string) string {
	if second, _, ok := strings.Cut(timestamp, "."); ok {
		return second + "Z"
	}
	return timestamp
}
