package main

import (
	"net"
	"slices"
	"time"

	"dpifd/test/bench"
)

// transactions makes TCP connections through the switch, one after the other.
func (n *network) transactions(m *bench.Result, count int) error {
	var server net.Listener
	if err := inside(n.receiver, func() (err error) {
		server, err = net.Listen("tcp4", serverAddr+":0")
		return err
	}); err != nil {
		return err
	}
	defer server.Close()
	go echo(server)
	return inside(n.sender, func() error { return connect(m, server.Addr().(*net.TCPAddr), count) })
}

// echo answers one byte on each connection.
func echo(server net.Listener) {
	b := make([]byte, 1)
	for {
		c, err := server.Accept()
		if err != nil {
			return // closed
		}
		if _, err := c.Read(b); err == nil {
			_, _ = c.Write(b) // the client fails if this did
		}
		c.Close()
	}
}

// connect is the client of count connections, in the thread's namespace.
func connect(m *bench.Result, server *net.TCPAddr, count int) error {
	var took []time.Duration
	b := make([]byte, 1)
	first := time.Now()
	for range count {
		start := time.Now()
		c, err := net.DialTCP("tcp4", nil, server)
		if err != nil {
			return err
		}
		if _, err = c.Write(b); err == nil {
			_, err = c.Read(b)
		}
		c.Close()
		if err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	m.Sent, m.Arrived, m.Seconds = count, count, time.Since(first).Seconds()
	slices.Sort(took)
	setLatency(m, took)
	return nil
}
