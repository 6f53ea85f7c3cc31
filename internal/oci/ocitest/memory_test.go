package ocitest_test

import (
	"testing"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
)

func TestMemory(t *testing.T) {
	ocitest.Run(t, func(*testing.T) oci.Registry { return ocitest.Memory() })
}
