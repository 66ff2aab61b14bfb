package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Source sends frames on one device. It belongs to one goroutine at a time.
type Source struct {
	fd     int
	to     *unix.SockaddrLinklayer
	device string
}

func newSource(fd int, device string, protocol uint16) (Source, error) {
	// Look it up by name: listing all devices is slow if there are many.
	request, err := unix.NewIfreq(device)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return Source{}, fmt.Errorf("index of device %s: %w", device, err)
	}
	return Source{fd: fd, device: device, to: &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol)),
		Ifindex:  int(request.Uint32())}}, nil
}

// Send stamps a frame that Frame has built and sends it.
func (s Source) Send(frame []byte) error {
	return s.send(frame, func() { binary.BigEndian.PutUint64(frame[18:], uint64(time.Now().UnixNano())) })
}

// SendAsIs sends a frame without a stamp.
func (s Source) SendAsIs(frame []byte) error { return s.send(frame, func() {}) }

// send sends a frame that stamp completes. While the device drops it, it is sent again, so that only the switch
// can lose frames.
func (s Source) send(frame []byte, stamp func()) error {
	for {
		stamp()
		err := unix.Sendto(s.fd, frame, 0, s.to)
		if err == nil {
			return nil
		}
		if err != unix.EINTR && err != unix.ENOBUFS {
			return fmt.Errorf("send on %s: %w", s.device, err)
		}
	}
}

// Paced sends frames at rate per second, from the sources in turn, or as fast as possible with rate
// 0. It returns the send time of the first frame.
func Paced(from []Source, frames [][]byte, rate int) (time.Time, error) {
	start := time.Now()
	_, err := Pace(context.Background(), len(frames), rate, func(i int) error { return from[i%len(from)].Send(frames[i]) })
	return start, err
}

// Pairs sends one frame of each pair from number from to before to, at a rate like Paced. It
// changes the frame.
func (s Source) Pairs(frame []byte, from, to, rate int) error {
	_, err := Pace(context.Background(), to-from, rate, func(i int) error {
		Pair(frame, from+i)
		return s.Send(frame)
	})
	return err
}

// IntroducePairs makes a switch learn all stations of pairs: those that send from a, and those
// behind b. It does not wait for that.
func IntroducePairs(a, b Source, pairs int) error {
	frame := Frame(Sink, 0, 60) // no pair uses this sink
	introduce := func(s Source, n int, name func(int)) error {
		_, err := Pace(context.Background(), n, introduceRate, func(i int) error {
			name(i)
			return s.Send(frame)
		})
		return err
	}
	err := introduce(a, (pairs+pairSinks-1)/pairSinks, func(i int) { Renumber(frame, uint32(i)) })
	if err != nil {
		return err
	}
	Renumber(frame, 0)
	copy(frame, frame[6:12])
	return introduce(b, pairSinks, func(i int) { copy(frame[6:12], pairSink(i)) })
}

// introduceRate is slow enough for all switches.
const introduceRate = 500

// Endless is a number of calls for Pace that is never reached.
const Endless = math.MaxInt

// Pace calls send for 0 to before n, at rate per second or, with rate 0, as fast as possible. It
// stops early when ctx is done, without an error, and at the first error. It returns the number of
// successful calls.
func Pace(ctx context.Context, n, rate int, send func(i int) error) (sent int, err error) {
	start := time.Now()
	for i := range n {
		if rate > 0 {
			due := time.Duration(float64(i) / float64(rate) * float64(time.Second))
			// A sleep may take too long; calls that are overdue are made at once.
			if wait := due - time.Since(start); wait > 0 {
				time.Sleep(max(wait, time.Millisecond))
			}
		}
		if ctx.Err() != nil {
			return i, nil
		}
		if err := send(i); err != nil {
			return i, err
		}
	}
	return n, nil
}

// Sender has a source for each of several devices. They share one packet socket that does not
// receive: opening and closing a thousand sockets takes minutes.
type Sender struct {
	fd      int
	Sources []Source
}

// OpenSender opens sources on devices of the thread's network namespace.
func OpenSender(devices []string) (*Sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sending packet socket: %w", err)
	}
	s := &Sender{fd: fd}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendQueue)
	for _, device := range devices {
		source, e := newSource(fd, device, etherType)
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
