package arm

import (
	"log/slog"

	"github.com/dockbell/dockbell/internal/webhook"
)

// audit puts on record who did what with a webhook, and whom it rings: a host,
// never more of an address. more are further keys and values.
func (a *api) audit(c call, w webhook.Webhook, what, host string, more ...any) {
	fields := append([]any{"by", c.user, "what", what, "registry", c.registry.Name, "webhook", w.Name, "to", host}, more...)
	a.Log.InfoContext(c.Context(), "a webhook was operated", slog.Group("audit", fields...))
}

// host returns whom a webhook rings, as scheme://name:port.
func (a *api) host(w webhook.Webhook) string {
	terms, _ := a.Webhooks.Terms(w.RegistryID, w.ID) // none for one deleted in between
	return terms.Host
}

// auditRegistry puts on record who did what with a registry, or with what is
// named in more: keys and values.
func (a *api) auditRegistry(c call, what, registry string, more ...any) {
	fields := append([]any{"by", c.user, "what", what, "registry", registry}, more...)
	a.Log.InfoContext(c.Context(), "a registry was operated", slog.Group("audit", fields...))
}

// auditGroup puts on record who did what with a resource group.
func (a *api) auditGroup(c call, what, group string) {
	a.Log.InfoContext(c.Context(), "a resource group was operated", slog.Group("audit", "by", c.user, "what", what, "group", group))
}
