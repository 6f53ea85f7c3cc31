package delivery

import (
	"fmt"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// countColumns are those of attempt_count that are added up, in the order of
// Counts.fields.
var countColumns = func() []string {
	columns := []string{"delivered", "refused", "failed", "interrupted"}
	for i := range len(Counts{}.took) {
		columns = append(columns, fmt.Sprint("took_", i))
	}
	return columns
}()

// fields returns where the members of c are, as countColumns has them.
func (c *Counts) fields() []any {
	all := []any{&c.Delivered, &c.Refused, &c.Failed, &c.Interrupted}
	for i := range c.took {
		all = append(all, &c.took[i])
	}
	return all
}

// read reads what countColumns have, apart by one blank each.
func (c *Counts) read(numbers string) bool {
	var all [4 + len(c.took)]int64
	i, digits := 0, 0
	for _, r := range []byte(numbers) {
		switch {
		case r == ' ' && digits > 0 && i < len(all)-1:
			i, digits = i+1, 0
		case r >= '0' && r <= '9' && digits < 18:
			all[i], digits = all[i]*10+int64(r-'0'), digits+1
		default:
			return false
		}
	}
	c.Delivered, c.Refused, c.Failed, c.Interrupted = all[0], all[1], all[2], all[3]
	copy(c.took[:], all[4:])
	return i == len(all)-1 && digits > 0
}

// eachColumn writes every column by a format, in which %[1]s is its name and %[2]d
// the number of its parameter.
func eachColumn(format string) string {
	all := make([]string, len(countColumns))
	for i, name := range countColumns {
		all[i] = fmt.Sprintf(format, name, i+4)
	}
	return strings.Join(all, ", ")
}

var (
	addCountsText = "INSERT INTO attempt_count (endpoint, seconds, at, " + eachColumn("%[1]s") + ") VALUES ($1, $2, $3, " + eachColumn("$%[2]d") + `)
		ON CONFLICT (endpoint, seconds, at) DO UPDATE SET ` + eachColumn("%[1]s = attempt_count.%[1]s + excluded.%[1]s")

	takeMinutesText = `DELETE FROM attempt_count WHERE (endpoint, seconds, at) IN
		(SELECT endpoint, seconds, at FROM attempt_count WHERE endpoint >= $1 AND seconds = 60 AND at < $2 ORDER BY endpoint, at LIMIT $3)
		RETURNING endpoint, at, ` + eachColumn("%[1]s")

	// A driver hands out a text sooner than twenty numbers.
	selectCountsText = "SELECT endpoint, at, " + strings.Join(countColumns, " || ' ' || ") + ` FROM attempt_count
		WHERE endpoint IN (SELECT id FROM endpoint WHERE registry = $1 AND (id = $2 OR $2 = 0)) AND seconds IN (60, $4) AND at >= $3`
)

func addCounts(tx *sqldb.Tx, key counted, c Counts) error {
	args := []any{key.endpoint, int64(time.Duration(key.step) / time.Second), key.at, c.Delivered, c.Refused, c.Failed, c.Interrupted}
	for _, n := range c.took {
		args = append(args, n)
	}
	_, err := tx.Exec(addCountsText, args...)
	return err
}

// takeMinutes removes up to n minutes before a moment, of endpoints from an id on,
// lower ids first, and hands out what they counted, in no order.
func takeMinutes(tx *sqldb.Tx, endpoint, before int64, n int, each func(endpoint, at int64, c Counts)) error {
	return tx.Each(takeMinutesText, []any{endpoint, before, n}, func(s sqldb.Scan) error {
		var endpoint, at int64
		var c Counts
		err := s(append([]any{&endpoint, &at}, c.fields()...)...)
		each(endpoint, at, c)
		return err
	})
}

// eachCount hands out what the attempts of a registry's endpoints, or of one unless
// that is 0, came to from a moment on: by spans of which some may be shorter than a
// step, in no order.
func eachCount(tx *sqldb.Tx, registry, endpoint int64, step Step, from time.Time, each func(endpoint int64, p Point)) error {
	return tx.Each(selectCountsText, []any{registry, endpoint, from.Unix(), int64(time.Duration(step) / time.Second)}, func(s sqldb.Scan) error {
		var endpoint, at int64
		var numbers string
		if err := s(&endpoint, &at, &numbers); err != nil {
			return err
		}
		p := Point{At: step.begin(time.Unix(at, 0))}
		if !p.read(numbers) {
			return fmt.Errorf("the figures of endpoint %d at %d cannot be read: %q", endpoint, at, numbers)
		}
		each(endpoint, p)
		return nil
	})
}

// deleteCounts removes up to n spans that began before a moment.
func deleteCounts(tx *sqldb.Tx, before int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM attempt_count WHERE (endpoint, seconds, at) IN
		(SELECT endpoint, seconds, at FROM attempt_count WHERE at < $1 LIMIT $2)`, before, n)
}
