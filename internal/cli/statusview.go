package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func summaryView(s summary) map[string]any {
	view := map[string]any{
		"server":     map[string]any{"address": s.Address, "version": s.Server.Version, "ready": s.Server.Ready, "reason": orNull(s.Server.Reason)},
		"registries": views(s.Registries, registrySummaryView),
		"troubles":   views(s.Troubles, troubleView),
	}
	view["lastGarbageCollection"] = nil
	if s.Collections != nil && len(s.Collections.Newest) > 0 {
		view["lastGarbageCollection"] = collectionView(s.Collections.Newest[0])
	}
	view["nextGarbageCollection"] = nil
	if s.Collections != nil {
		view["nextGarbageCollection"] = moment3339(s.Collections.NextAt)
	}
	return view
}

func registrySummaryView(r registrySummary) map[string]any {
	return map[string]any{
		"name": r.Name, "loginServer": r.Properties.LoginServer, "location": r.Location, "sku": r.SKU.Name,
		"usages":   generic(r.Usages),
		"webhooks": generic(r.Webhooks), "eventSubscriptions": generic(r.EventSubscriptions),
		"waiting": float64(r.Waiting), "behind": float64(r.Behind), "deadLetters": float64(r.DeadLetters),
		"lastHour": generic(r.LastHour), "last24Hours": generic(r.LastDay),
	}
}

func troubleView(t trouble) map[string]any {
	view := map[string]any{
		"kind": t.Kind, "registry": orNull(t.Registry), "name": t.Name, "state": t.State, "reason": orNull(t.Reason),
		"since": moment3339(t.Since), "next": t.Next, "health": nil,
	}
	if t.Health != nil {
		view["health"] = decoded(t.Health.Raw)
	}
	return view
}

// orNull is null for an empty text.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// writeSummary draws a screen: the server, registries, deliveries, and what is wrong.
func (o *output) writeSummary(s summary) error {
	if _, err := fmt.Fprintln(o.env.Stdout, plain(strings.Join(s.words(o), "; "))); err != nil {
		return err
	}
	tables := []table{o.registriesTable(s), deliveriesTable(s)}
	if s.Troubles != nil {
		tables = append(tables, o.troubleTable(s.Troubles))
	}
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintln(o.env.Stdout)
		if err := o.writeTable(t); err != nil {
			return err
		}
	}
	if s.Troubles == nil {
		o.env.hint("nothing is wrong")
	}
	return nil
}

// words say what there is to say of the server.
func (s summary) words(o *output) []string {
	words := []string{strings.TrimSpace("dockbell "+s.Server.Version) + " at " + s.Address}
	if s.Server.Ready {
		words = append(words, "ready")
	} else {
		words = append(words, "not ready: "+s.Server.Reason)
	}
	switch c := s.Collections; {
	case c == nil:
	case len(c.Newest) == 0:
		words = append(words, "no garbage collection yet")
	default:
		last := c.Newest[0]
		text := "last garbage collection " + last.State
		if at := cmp.Or(last.EndedAt, last.StartedAt); last.State != controlclient.CollectionRunning {
			text += " " + o.agoWord(at) + ", " + bytesWord(last.Bytes+last.FileBytes) + " freed"
			if last.DryRun {
				text = strings.TrimSuffix(text, "freed") + "to free"
			}
		}
		words = append(words, text)
	}
	return words
}

// agoWord is when, in a sentence.
func (o *output) agoWord(t time.Time) string {
	if o.format.value == wide {
		return "at " + o.when(t)
	}
	return inWords(time.Since(t)) + " ago"
}

func (o *output) registriesTable(s summary) table {
	t := table{header: []string{"REGISTRY", "SKU", "SIZE", "WEBHOOKS", "EVENT SUBSCRIPTIONS", "WAITING", "PARKED", "GIVEN UP"}}
	for _, r := range s.Registries {
		size := ""
		for _, u := range r.Usages {
			if u.Name == "Size" {
				size = bytesWord(u.CurrentValue)
				if u.Limit > 0 {
					size += " of " + bytesWord(u.Limit)
				}
			}
		}
		waiting := o.waitingCells(&controlclient.Health{Waiting: r.Waiting, Behind: r.Behind})
		t.rows = append(t.rows, []string{r.Name, r.SKU.Name, size, stateCounts(r.Webhooks), stateCounts(r.EventSubscriptions), waiting[0], waiting[1], strconv.FormatInt(r.DeadLetters, 10)})
	}
	return t
}

// stateCounts says how many fare how, those that fare well first; nothing for nil.
func stateCounts(counts map[string]int) string {
	switch {
	case counts == nil:
		return ""
	case len(counts) == 0:
		return "none"
	}
	states := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if (a == "ok") != (b == "ok") {
			if a == "ok" {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	})
	words := make([]string, len(states))
	for i, state := range states {
		words[i] = fmt.Sprintf("%d %s", counts[state], cmp.Or(healthWords[state], state))
	}
	return strings.Join(words, ", ")
}

func deliveriesTable(s summary) table {
	t := table{header: []string{"REGISTRY", "IN THE LAST", "DELIVERED", "REFUSED", "FAILED", "INTERRUPTED", "P50", "P95"}}
	for _, r := range s.Registries {
		for _, span := range []struct {
			word string
			controlclient.Counts
		}{{"hour", r.LastHour}, {"24 hours", r.LastDay}} {
			row := []string{r.Name, span.word}
			for _, n := range []int64{span.Delivered, span.Refused, span.Failed, span.Interrupted} {
				row = append(row, strconv.FormatInt(n, 10))
			}
			if span.P50 > 0 {
				row = append(row, tookWord(span.P50), tookWord(span.P95))
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

func (o *output) troubleTable(troubles []trouble) table {
	t := table{header: []string{"WRONG", "STATUS", "SINCE", "WAITING", "PARKED", "LAST", "NEXT ATTEMPT", "NEXT"}}
	for _, one := range troubles {
		name := one.Kind + " " + one.Name
		if one.Registry != "" {
			name = one.Registry + "/" + one.Name
			if one.Kind != "webhook" {
				name += " (" + one.Kind + ")"
			}
		}
		row := []string{name, cmp.Or(troubleWords[one.State], healthWords[one.State], one.State), o.when(one.Since), "", "", "", "", one.Next}
		if h := one.Health; h != nil {
			if one.State == deadLetters {
				row[1] = fmt.Sprintf("%d given up", h.DeadLetters)
			}
			waiting := o.waitingCells(h)
			row[3], row[4], row[5] = waiting[0], waiting[1], statusWord(h.LastStatus, h.LastError)
			row[6] = o.until(h.NextAttempt)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// troubleWords are states that health has not.
var troubleWords = map[string]string{"notReady": "not ready"}
