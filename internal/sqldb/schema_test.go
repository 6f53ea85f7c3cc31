package sqldb_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

var update = flag.Bool("update", false, "write the schema files anew")

// The files in schema/ are what all migrations together come to, for people to
// read and for reviews to see: go test ./internal/sqldb -run Schema -update.
func TestSchemaIsTheOneWrittenDown(t *testing.T) {
	for dialect, test := range map[string]struct {
		open func(*testing.T) func() *sqldb.DB
		dump func(*sqldb.Tx) ([]string, error)
	}{
		"sqlite":   {sqldbtest.SQLite, dumpSQLite},
		"postgres": {sqldbtest.Postgres, dumpPostgres},
	} {
		t.Run(dialect, func(t *testing.T) {
			var lines []string
			err := test.open(t)().Read(bg, func(tx *sqldb.Tx) (err error) {
				lines, err = test.dump(tx)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(lines, "\n") + "\n"
			file := filepath.Join("schema", dialect+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s is not the schema (-file +database); run with -update if the change is meant:\n%s", file, diff)
			}
		})
	}
}

func text(s sqldb.Scan) (line string, err error) { return line, s(&line) }

// dumpSQLite returns the statements that SQLite keeps.
func dumpSQLite(tx *sqldb.Tx) ([]string, error) {
	return sqldb.Select(tx, text, `SELECT sql || ';' FROM sqlite_schema
		WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' AND tbl_name NOT LIKE 'goose%' ORDER BY tbl_name, type DESC, name`)
}

// dumpPostgres returns a line for each column, constraint and index.
func dumpPostgres(tx *sqldb.Tx) ([]string, error) {
	columns, err := sqldb.Select(tx, text, `SELECT table_name || '.' || lpad(ordinal_position::text, 2, '0') || ' ' || column_name || ' ' || data_type ||
		CASE WHEN collation_name IS NULL THEN '' ELSE ' collate ' || collation_name END ||
		CASE WHEN is_nullable = 'NO' THEN ' not null' ELSE '' END || CASE WHEN is_identity = 'YES' THEN ' identity' ELSE '' END
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%'`)
	if err != nil {
		return nil, err
	}
	constraints, err := sqldb.Select(tx, text, `SELECT conrelid::regclass || ' constraint ' || pg_get_constraintdef(oid)
		FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'goose%'`)
	if err != nil {
		return nil, err
	}
	indexes, err := sqldb.Select(tx, text, `SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%'`)
	lines := slices.Concat(columns, constraints, indexes)
	slices.Sort(lines)
	return lines, err
}
