package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment is a flag whose value is a time: an age like 2h or 3d, a date, or RFC
// 3339.
type moment struct {
	time.Time // zero while the flag was not given
	text      string
}

// Set takes a time; an age counts back from now, and a date is its first moment
// in UTC.
func (m *moment) Set(s string) error {
	m.text = s
	if d, err := parseSpan(s); err == nil {
		m.Time = time.Now().Add(-d).UTC().Truncate(time.Second)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.Time = t
			return nil
		}
	}
	return Usage("%q is no time: use an age like 2h or 3d, a date like 2026-11-20, or 2026-11-20T15:04:05Z", s)
}

// String returns what was given; nothing at first, which is the default that help
// shows.
func (m *moment) String() string { return m.text }

// Type returns the word for the value in help.
func (m *moment) Type() string { return "time" }

// deadline is a flag whose value is a time to come: a date or RFC 3339.
type deadline struct {
	time.Time // zero while the flag was not given
	text      string
}

// Set takes a time; a date is its first moment in UTC.
func (d *deadline) Set(s string) error {
	d.text = s
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			d.Time = t.UTC()
			return nil
		}
	}
	return Usage("%q is no time: use a date like 2030-12-31, or 2030-12-31T12:59:59Z", s)
}

// String returns what was given; nothing at first, which is the default that help
// shows.
func (d *deadline) String() string { return d.text }

// Type returns the word for the value in help.
func (d *deadline) Type() string { return "time" }

// span is a flag whose value is a length of time.
type span struct{ time.Duration }

// Set takes a length of time, 0 or more.
func (d *span) Set(s string) error {
	parsed, err := parseSpan(s)
	if err != nil {
		return Usage("%q is no length of time: use one like 90s, 5m, 24h or 7d", s)
	}
	d.Duration = parsed
	return nil
}

// String returns the length of time in its largest unit.
func (d *span) String() string {
	for _, u := range []struct {
		unit   time.Duration
		letter string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if d.Duration >= u.unit && d.Duration%u.unit == 0 {
			return strconv.FormatInt(int64(d.Duration/u.unit), 10) + u.letter
		}
	}
	return d.Duration.String()
}

// Type returns the word for the value in help.
func (d *span) Type() string { return "time" }

// parseSpan reads a length of time as Go writes it, with d for days too, which
// come first: 1d12h. It may not be negative.
func parseSpan(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, err
		}
		if total = time.Duration(n) * day; rest == "" {
			return total, nil
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	if err == nil && (d < 0 || total+d < 0) {
		err = fmt.Errorf("%s is below zero", s)
	}
	return total + d, err
}

// when prints a moment that has passed as its age or, in a wide table, in full;
// the zero time as nothing.
func (o *output) when(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case o.format.value == wide:
		return t.UTC().Format(time.RFC3339)
	}
	return age(time.Since(t))
}

// until prints a moment that is to come as the time till then or, in a wide table, in
// full; the zero time as nothing.
func (o *output) until(t time.Time) string {
	if t.IsZero() || o.format.value == wide {
		return o.when(t)
	}
	return "in " + age(time.Until(t))
}

// age prints a length of time in its largest unit, cut off, as tables have it: 3s,
// 5m, 2h, 12d. Clocks differ, so what is below zero is now.
func age(d time.Duration) string {
	n, unit := largest(d)
	return n + unit[:1]
}

// inWords prints a length of time in its largest unit, cut off, as sentences have
// it: 3 s, 5 min, 2 h, 12 days.
func inWords(d time.Duration) string {
	n, unit := largest(d)
	if unit == "days" && n == "1" {
		unit = "day"
	}
	return n + " " + unit
}

func largest(d time.Duration) (n, unit string) {
	const day = 24 * time.Hour
	d = max(d, 0)
	size := time.Second
	switch {
	case d < time.Minute:
		unit = "s"
	case d < time.Hour:
		size, unit = time.Minute, "min"
	case d < day:
		size, unit = time.Hour, "h"
	default:
		size, unit = day, "days"
	}
	return strconv.FormatInt(int64(d/size), 10), unit
}
