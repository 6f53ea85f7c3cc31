package cli

import (
	"strings"
	"unicode/utf8"
)

// columns aligns lines that are printed one by one, as a table does that knows
// its end: a column is as wide as the widest cell it has had, up to a limit.
type columns struct {
	widths []int

	// coloured returns a cell's text with what colours it; nil for no colours.
	coloured func(column int, text string) string
}

// maxColumn is how wide a cell may make its column.
const maxColumn = 48

// line returns the cells as a line.
func (c *columns) line(cells ...string) string {
	var b strings.Builder
	for i, cell := range cells {
		if i == len(c.widths) {
			c.widths = append(c.widths, 0)
		}
		text := plain(cell)
		n := utf8.RuneCountInString(text)
		c.widths[i] = max(c.widths[i], min(n, maxColumn))
		if c.coloured != nil {
			text = c.coloured(i, text)
		}
		b.WriteString(text)
		b.WriteString(strings.Repeat(" ", max(c.widths[i]-n, 0)+2))
	}
	return strings.TrimRight(b.String(), " ")
}

// paint colours a text for standard output, if that is a terminal whose reader
// wants colours.
func (env Env) paint(colour, text string) string {
	if !env.StdoutTerminal || env.Getenv("NO_COLOR") != "" {
		return text
	}
	return colour + text + reset
}
