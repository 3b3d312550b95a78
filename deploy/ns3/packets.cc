// A network of output ports in ns-3, for checking Routewright's packet simulator: packets < scenario > results.
//
// Every directed link is a point-to-point device with its channel, packets are forwarded between devices by the tag that
// they carry, without IP: with the device's 2 bytes of PPP header a packet has exactly the size that was intended.
//
// Input: "seed measured_from_s until_s batches"; number of ports, each "capacity_bps delay_s scheduler room queues" and per
// queue "weight quantum_bits"; number of flows, each a source (sources.h), the number of paths, and per path "share hops"
// and per hop "port queue".
// Output: one line per flow: generated dropped delivered delay_sum_s delay_square_sum_s2 variation_sum_s variations p99_s,
// then per batch its packets and the sum of their delays.  Packets born in the measured time are counted.

#include "queues.h"
#include "sources.h"
#include "tags.h"

#include <ns3/data-rate.h>
#include <ns3/drop-tail-queue.h>
#include <ns3/mac48-address.h>
#include <ns3/node.h>
#include <ns3/point-to-point-channel.h>
#include <ns3/point-to-point-net-device.h>
#include <ns3/rng-seed-manager.h>
#include <ns3/simulator.h>
#include <ns3/string.h>
#include <ns3/uinteger.h>

#include <cstdio>
#include <iostream>
#include <memory>

using namespace ns3;

namespace
{

constexpr uint16_t IPV4 = 0x0800; // the device's PPP header knows two protocols
constexpr uint32_t PPP_BYTES = 2;
constexpr double BIN_WIDTH = 1.01; // delays are counted in bins 1 % wide
constexpr double SMALLEST_S = 1e-9;
constexpr std::size_t BINS = 3500; // up to 1e-9 * 1.01^3500 = 1.3e6 seconds

struct Hop
{
    uint32_t port;
    uint32_t queue;
};

struct Path
{
    double share;
    std::vector<Hop> hops;
};

struct Tally
{
    uint64_t generated = 0;
    uint64_t dropped = 0;
    uint64_t delivered = 0;
    uint64_t variations = 0;
    double delaySum = 0;
    double squareSum = 0;
    double variationSum = 0;
    double last = -1;
    std::vector<uint64_t> batchCount;
    std::vector<double> batchSum;
    std::vector<uint32_t> bins = std::vector<uint32_t>(BINS, 0);

    double Percentile(double probability) const
    {
        const double wanted = probability * delivered;
        double below = 0;
        for (std::size_t bin = 0; bin < BINS; ++bin)
        {
            if (bins[bin] > 0 && below + bins[bin] >= wanted)
            {
                return SMALLEST_S * std::pow(BIN_WIDTH, bin + (wanted - below) / bins[bin]);
            }
            below += bins[bin];
        }
        return 0;
    }
};

class Network
{
  public:
    explicit Network(std::istream& input)
    {
        uint32_t seed = 0;
        std::size_t ports = 0;
        std::size_t flows = 0;
        input >> seed >> m_fromS >> m_untilS >> m_batches >> ports;
        RngSeedManager::SetSeed(seed);
        for (std::size_t port = 0; port < ports; ++port)
        {
            AddPort(input);
        }
        input >> flows;
        m_choice = CreateObject<UniformRandomVariable>();
        for (std::size_t flow = 0; flow < flows; ++flow)
        {
            AddFlow(input);
        }
        if (!input)
        {
            throw std::runtime_error("the scenario ends too early or has something that is no number");
        }
    }

    void Run()
    {
        for (uint32_t flow = 0; flow < m_sources.size(); ++flow)
        {
            if (!m_sources[flow]->Silent())
            {
                ScheduleBirth(flow);
            }
        }
        Simulator::Stop(Seconds(m_untilS));
        Simulator::Run();
    }

    void Print() const
    {
        for (const Tally& tally : m_tallies)
        {
            std::printf("%lu %lu %lu %.17g %.17g %.17g %lu %.9g", tally.generated, tally.dropped, tally.delivered,
                        tally.delaySum, tally.squareSum, tally.variationSum, tally.variations, tally.Percentile(0.99));
            for (uint32_t batch = 0; batch < m_batches; ++batch)
            {
                std::printf(" %lu %.17g", tally.batchCount[batch], tally.batchSum[batch]);
            }
            std::printf("\n");
        }
    }

  private:
    void AddPort(std::istream& input)
    {
        double capacityBps = 0;
        double delayS = 0;
        std::string scheduler;
        uint32_t room = 0;
        uint32_t queues = 0;
        input >> capacityBps >> delayS >> scheduler >> room >> queues;
        std::vector<double> weights(queues);
        std::vector<double> quantumBits(queues);
        for (uint32_t queue = 0; queue < queues; ++queue)
        {
            input >> weights[queue] >> quantumBits[queue];
        }
        if (!input || room < 1 || queues < 1)
        {
            throw std::runtime_error("a port cannot be read, or has no room or no queue");
        }
        auto channel = CreateObject<PointToPointChannel>();
        channel->SetAttribute("Delay", TimeValue(Seconds(delayS)));
        Ptr<PointToPointNetDevice> ends[2];
        for (auto& end : ends)
        {
            end = CreateObject<PointToPointNetDevice>();
            CreateObject<Node>()->AddDevice(end);
            end->SetAddress(Mac48Address::Allocate());
            end->SetAttribute("DataRate", DataRateValue(DataRate(static_cast<uint64_t>(std::llround(capacityBps)))));
            end->SetMtu(65535);
            end->SetQueue(MakeQueue("fifo", room, weights, quantumBits));
            end->Attach(channel);
        }
        ends[0]->SetQueue(MakeQueue(scheduler, room, weights, quantumBits));
        ends[1]->SetReceiveCallback(MakeCallback(&Network::Received, this));
        m_ports.push_back(ends[0]);
        m_farEnds.push_back(ends[1]);
    }

    static Ptr<Queue<Packet>> MakeQueue(const std::string& scheduler,
                                        uint32_t room,
                                        const std::vector<double>& weights,
                                        const std::vector<double>& quantumBits)
    {
        const uint32_t queues = weights.size();
        if (scheduler == "strict")
        {
            return Ptr<Queue<Packet>>(new StrictPriority(queues, room), false);
        }
        if (scheduler == "drr")
        {
            return Ptr<Queue<Packet>>(new DeficitRoundRobin(queues, room, quantumBits), false);
        }
        if (scheduler == "wfq")
        {
            return Ptr<Queue<Packet>>(new SelfClockedFair(queues, room, weights), false);
        }
        if (scheduler != "fifo")
        {
            throw std::runtime_error("unknown scheduler " + scheduler);
        }
        auto queue = CreateObject<DropTailQueue<Packet>>();
        queue->SetMaxSize(QueueSize(QueueSizeUnit::PACKETS, room));
        return queue;
    }

    void AddFlow(std::istream& input)
    {
        m_sources.push_back(std::make_unique<Source>(input));
        std::size_t paths = 0;
        input >> paths;
        m_paths.emplace_back(paths);
        for (Path& path : m_paths.back())
        {
            std::size_t hops = 0;
            input >> path.share >> hops;
            path.hops.resize(hops);
            for (Hop& hop : path.hops)
            {
                input >> hop.port >> hop.queue;
                if (!input || hop.port >= m_ports.size())
                {
                    throw std::runtime_error("a path has a port that is not there");
                }
            }
        }
        m_tallies.emplace_back();
        m_tallies.back().batchCount.assign(m_batches, 0);
        m_tallies.back().batchSum.assign(m_batches, 0.0);
    }

    void ScheduleBirth(uint32_t flow)
    {
        const Time at = Seconds(m_sources[flow]->NextS());
        Simulator::Schedule(std::max(at - Simulator::Now(), Time(0)), &Network::Birth, this, flow);
    }

    void Birth(uint32_t flow)
    {
        TravelTag tag;
        tag.flow = flow;
        tag.bornNs = Simulator::Now().GetNanoSeconds();
        const std::vector<Path>& paths = m_paths[flow];
        if (paths.size() > 1)
        {
            double rest = m_choice->GetValue();
            while (tag.path + 1 < paths.size() && rest >= paths[tag.path].share)
            {
                rest -= paths[tag.path++].share;
            }
        }
        Ptr<Packet> packet = Create<Packet>(m_sources[flow]->Bytes() - PPP_BYTES);
        if (Measured(tag))
        {
            ++m_tallies[flow].generated;
        }
        m_sources[flow]->Advance();
        ScheduleBirth(flow);
        Forward(packet, tag);
    }

    bool Received(Ptr<NetDevice>, Ptr<const Packet> arrived, uint16_t, const Address&)
    {
        Ptr<Packet> packet = arrived->Copy();
        TravelTag tag = TravelTag::Of(packet);
        ++tag.hop;
        if (tag.hop == m_paths[tag.flow][tag.path].hops.size())
        {
            Deliver(tag);
        }
        else
        {
            Forward(packet, tag);
        }
        return true;
    }

    void Forward(Ptr<Packet> packet, TravelTag& tag)
    {
        const Hop& hop = m_paths[tag.flow][tag.path].hops[tag.hop];
        tag.queue = hop.queue;
        packet->ReplacePacketTag(tag);
        if (!m_ports[hop.port]->Send(packet, m_farEnds[hop.port]->GetAddress(), IPV4) && Measured(tag))
        {
            ++m_tallies[tag.flow].dropped;
        }
    }

    void Deliver(const TravelTag& tag)
    {
        if (!Measured(tag))
        {
            return;
        }
        Tally& tally = m_tallies[tag.flow];
        const double nowS = Simulator::Now().GetSeconds();
        const double delay = 1e-9 * (Simulator::Now().GetNanoSeconds() - static_cast<int64_t>(tag.bornNs));
        ++tally.delivered;
        tally.delaySum += delay;
        tally.squareSum += delay * delay;
        if (tally.last >= 0)
        {
            ++tally.variations;
            tally.variationSum += std::abs(delay - tally.last);
        }
        tally.last = delay;
        const double place = std::log(std::max(delay, SMALLEST_S) / SMALLEST_S) / std::log(BIN_WIDTH);
        ++tally.bins[std::min(BINS - 1, static_cast<std::size_t>(place))];
        const double part = (nowS - m_fromS) / (m_untilS - m_fromS);
        const uint32_t batch = std::min(m_batches - 1, static_cast<uint32_t>(part * m_batches));
        ++tally.batchCount[batch];
        tally.batchSum[batch] += delay;
    }

    bool Measured(const TravelTag& tag) const
    {
        return 1e-9 * tag.bornNs >= m_fromS;
    }

    double m_fromS = 0;
    double m_untilS = 0;
    uint32_t m_batches = 1;
    std::vector<Ptr<PointToPointNetDevice>> m_ports;
    std::vector<Ptr<PointToPointNetDevice>> m_farEnds;
    std::vector<std::unique_ptr<Source>> m_sources;
    std::vector<std::vector<Path>> m_paths;
    std::vector<Tally> m_tallies;
    Ptr<UniformRandomVariable> m_choice;
};

} // namespace

int
main()
{
    try
    {
        Network network(std::cin);
        network.Run();
        network.Print();
        Simulator::Destroy();
    }
    catch (const std::exception& error)
    {
        std::cerr << "packets: " << error.what() << std::endl;
        return 2;
    }
    return 0;
}
