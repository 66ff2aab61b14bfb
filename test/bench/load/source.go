package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Source sends frames on one device. It belongs to one goroutine at a time.
type Source struct {
	fd     int
	to     *unix.SockaddrLinklayer
	device string
}

func newSource(fd int, device string) (Source, error) {
	// Asked for by name: a list of all devices takes long where there are many.
	request, err := unix.NewIfreq(device)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return Source{}, fmt.Errorf("index of device %s: %w", device, err)
	}
	return Source{fd: fd, device: device, to: &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType)),
		Ifindex:  int(request.Uint32())}}, nil
}

// Send stamps a frame and sends it. While the device drops it, it is sent
// again: only the switch is to lose frames.
func (s Source) Send(frame []byte) error {
	for {
		binary.BigEndian.PutUint64(frame[18:], uint64(time.Now().UnixNano()))
		err := unix.Sendto(s.fd, frame, 0, s.to)
		if err == nil {
			return nil
		}
		if err != unix.EINTR && err != unix.ENOBUFS {
			return fmt.Errorf("send on %s: %w", s.device, err)
		}
	}
}

// Sender has a source for each of some devices. They share one packet socket,
// which receives nothing: a thousand sockets take minutes to open and close.
type Sender struct {
	fd      int
	Sources []Source
}

// OpenSender opens the sources of devices of the thread's network namespace.
func OpenSender(devices []string) (*Sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sending packet socket: %w", err)
	}
	s := &Sender{fd: fd}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendQueue)
	for _, device := range devices {
		source, e := newSource(fd, device)
		s.Sources, err = append(s.Sources, source), errors.Join(err, e)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }
