//go:build !linux

package app

import "net"

// keepLittleUnsent does nothing where there is no such option.
func keepLittleUnsent(*net.TCPConn) {}
