package main

import (
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"
)

// multistream-select 1.0.0 on a fresh stream of this very connection: a member's next stream must not go over another one.
func negotiate(stream network.Stream, id protocol.ID) error {
	if err := stream.SetProtocol(id); err != nil {
		return err
	}
	return multistream.SelectProtoOrFail(id, stream)
}
