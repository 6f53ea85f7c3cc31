package chart

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// BenchmarkIndex reads the index of a repository with 10,000 versions of 100
// charts: cold, after a change; and warm, when it is known. A push does not make
// it, so it costs what it costs in an empty one.
func BenchmarkIndex(b *testing.B) {
	const charts, versions = 100, 100
	db, err := sqldb.Open(b.Context(), sqldb.Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	f := newFixture(b, db, b.TempDir())
	h := f.contoso()
	var wg sync.WaitGroup
	for c := range charts {
		wg.Go(func() {
			name := fmt.Sprintf("chart-%d", c)
			for v := range versions {
				version := fmt.Sprintf("%d.%d.%d", v/50, v/10, v)
				data := pack(packed{name: name + "/Chart.yaml", text: "apiVersion: v2\nname: " + name + "\nversion: " + version +
					"\nappVersion: \"1.16.0\"\ndescription: A Helm chart for one of the services of a shop\nhome: https://example.com/charts\n" +
					"sources: [https://github.com/example/charts]\nkeywords: [shop, web, service]\nmaintainers: [{name: Ada, email: ada@example.com}]\n"},
					packed{name: name + "/values.yaml", text: string(noise(uint64(v), 2000))})
				if err := h.Create(b.Context(), packageFile(name, version), bytes.NewReader(data)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	read := func(b *testing.B) {
		index, err := h.Index(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, index.Content)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			f.indexes.forget(contoso.ID)
			read(b)
		}
	})
	b.Run("warm", func(b *testing.B) {
		read(b)
		for b.Loop() {
			read(b)
		}
	})
	b.Run("push", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name, version := "pushed", fmt.Sprintf("0.%d.%d", b.N, i)
			if err := h.Create(b.Context(), packageFile(name, version), bytes.NewReader(packageOf(name, version, noise(1, 2000)...))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("push to an empty one", func(b *testing.B) {
		h := f.For(fabrikam, curl)
		for i := 0; b.Loop(); i++ {
			name, version := "pushed", fmt.Sprintf("0.%d.%d", b.N, i)
			if err := h.Create(b.Context(), packageFile(name, version), bytes.NewReader(packageOf(name, version, noise(1, 2000)...))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
