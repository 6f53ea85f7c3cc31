package chart

import (
	"strings"

	"github.com/Masterminds/semver/v3"
)

// file is the name of a file in the repository, of the form
// <name>-<version>.tgz or <name>-<version>.tgz.prov. Where the name ends and the
// version begins only the package itself can tell: a-1-2.tgz may be either.
type file struct {
	pkg        string // name of the package
	provenance bool   // its provenance file is meant
}

const (
	packageSuffix    = ".tgz"
	provenanceSuffix = packageSuffix + ".prov"
)

// The longest name and version taken, in bytes. The names of files made of them fit
// into the 255 bytes that file systems have.
const (
	maxName    = 128
	maxVersion = 110
)

// packageFile returns the file name that Helm gives a package.
func packageFile(name, version string) string { return name + "-" + version + packageSuffix }

func (f file) String() string {
	if f.provenance {
		return f.pkg + ".prov"
	}
	return f.pkg
}

// parseFile reads the last part of a path under _blobs, with its percent signs
// undone.
func parseFile(text string) (file, error) {
	f := file{pkg: text}
	if pkg, ok := strings.CutSuffix(text, ".prov"); ok {
		f = file{pkg, true}
	}
	stem, ok := strings.CutSuffix(f.pkg, packageSuffix)
	name, version, dashed := strings.Cut(stem, "-")
	switch {
	case !ok || !dashed || name == "" || version == "":
		return file{}, invalid("file name %q is not valid: use <name>-<version>%s, as helm package writes it, or <name>-<version>%s", clip(text), packageSuffix, provenanceSuffix)
	case len(stem) > maxName+1+maxVersion || strings.ContainsFunc(stem, func(r rune) bool { return !nameRune(r) && r != '+' }):
		return file{}, invalid("file name %q is not valid: name and version are made of letters, digits, '.', '_', '-' and, in the version, '+', and not longer than %d and %d characters",
			clip(text), maxName, maxVersion)
	}
	return f, nil
}

// nameRune reports whether a chart's name may have r in it.
func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// checkName refuses what is no name of a chart: Helm's grammar, as helm create has
// it.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
		return badPackage("the name %q in Chart.yaml is none: use 1 to %d letters, digits, '.', '_' and '-'", clip(name), maxName)
	}
	return nil
}

// checkVersion refuses what is no version, by Helm's rule: that of SemVer 2, of
// which parts may be missing at the end, and a leading v.
func checkVersion(version string) error {
	if _, err := semver.NewVersion(version); err != nil || len(version) > maxVersion {
		return badPackage("the version %q in Chart.yaml is none: use one like 1.2.3, up to %d characters (semver.org)", clip(version), maxVersion)
	}
	return nil
}
