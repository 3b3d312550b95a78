// What a packet carries: whose it is, where it is on its way, which queue it waits in next, and when it was born.
#pragma once

#include <ns3/packet.h>
#include <ns3/tag.h>

class TravelTag : public ns3::Tag
{
  public:
    uint32_t flow = 0;
    uint32_t path = 0;
    uint32_t hop = 0;
    uint32_t queue = 0;
    uint64_t bornNs = 0;

    static ns3::TypeId GetTypeId()
    {
        static ns3::TypeId id = ns3::TypeId("TravelTag").SetParent<ns3::Tag>().AddConstructor<TravelTag>();
        return id;
    }

    static TravelTag Of(ns3::Ptr<const ns3::Packet> packet)
    {
        TravelTag tag;
        packet->PeekPacketTag(tag);
        return tag;
    }

    ns3::TypeId GetInstanceTypeId() const override
    {
        return GetTypeId();
    }

    uint32_t GetSerializedSize() const override
    {
        return 4 * sizeof(uint32_t) + sizeof(uint64_t);
    }

    void Serialize(ns3::TagBuffer buffer) const override
    {
        buffer.WriteU32(flow);
        buffer.WriteU32(path);
        buffer.WriteU32(hop);
        buffer.WriteU32(queue);
        buffer.WriteU64(bornNs);
    }

    void Deserialize(ns3::TagBuffer buffer) override
    {
        flow = buffer.ReadU32();
        path = buffer.ReadU32();
        hop = buffer.ReadU32();
        queue = buffer.ReadU32();
        bornNs = buffer.ReadU64();
    }

    void Print(std::ostream& stream) const override
    {
        stream << "flow " << flow << " path " << path << " hop " << hop;
    }
};
