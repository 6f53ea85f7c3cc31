package app

import (
	"net"
	"syscall"
)

// unsent is how many bytes of an answer the kernel keeps that were not sent yet.
// What was sent and not confirmed comes on top, as much as the line needs.
const unsent = 128 << 10

// keepLittleUnsent has the kernel take more of an answer whenever some of it was
// sent. Otherwise it takes up to several MiB at once, for each client that does not
// read, and wakes the writer when a third is gone, which on a slow line is minutes
// later: such a client could not be told from one that is gone.
func keepLittleUnsent(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	const notSentLowWater = 0x19 // TCP_NOTSENT_LOWAT of tcp(7), which package syscall does not name
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowWater, unsent) })
}
