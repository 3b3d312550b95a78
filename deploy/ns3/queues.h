// What waits at an output port, as device queues of ns-3: strict priority is ns-3's own PrioQueueDisc; deficit round
// robin and self-clocked fair queueing, which ns-3 does not have in plain form, are written here from their papers.
#pragma once

#include "tags.h"

#include <ns3/fifo-queue-disc.h>
#include <ns3/packet.h>
#include <ns3/prio-queue-disc.h>
#include <ns3/queue.h>
#include <ns3/socket.h>
#include <ns3/string.h>

#include <deque>
#include <string>
#include <vector>

// Packets of one port by class.  The device calls Dequeue when its transmission ends, and gets none: then it is idle.
class ClassQueues : public ns3::Queue<ns3::Packet>
{
  public:
    ClassQueues(uint32_t classes, uint32_t room)
        : m_waiting(classes),
          m_room(room)
    {
    }

    bool Enqueue(ns3::Ptr<ns3::Packet> packet) override
    {
        const uint32_t queue = TravelTag::Of(packet).queue;
        if (m_waiting[queue].size() >= m_room)
        {
            return false;
        }
        Arrived(queue, packet);
        m_waiting[queue].push_back(packet);
        return true;
    }

    ns3::Ptr<ns3::Packet> Dequeue() override
    {
        if (Empty())
        {
            BecameIdle();
            return nullptr;
        }
        const uint32_t queue = Next();
        ns3::Ptr<ns3::Packet> packet = m_waiting[queue].front();
        m_waiting[queue].pop_front();
        return packet;
    }

    ns3::Ptr<ns3::Packet> Remove() override
    {
        return Dequeue();
    }

    ns3::Ptr<const ns3::Packet> Peek() const override
    {
        return nullptr; // no device asks
    }

  protected:
    virtual void Arrived(uint32_t queue, ns3::Ptr<const ns3::Packet> packet) = 0;
    virtual uint32_t Next() = 0; // the queue to serve; one is not empty
    virtual void BecameIdle() = 0;

    bool Empty() const
    {
        for (const auto& queue : m_waiting)
        {
            if (!queue.empty())
            {
                return false;
            }
        }
        return true;
    }

    double HeadBits(uint32_t queue) const
    {
        return 8.0 * m_waiting[queue].front()->GetSize();
    }

    std::vector<std::deque<ns3::Ptr<ns3::Packet>>> m_waiting;

  private:
    uint32_t m_room;
};

// Deficit round robin (Shreedhar and Varghese, IEEE/ACM Transactions on Networking 4, 1996), queues visited in turn.
class DeficitRoundRobin : public ClassQueues
{
  public:
    DeficitRoundRobin(uint32_t classes, uint32_t room, std::vector<double> quantumBits)
        : ClassQueues(classes, room),
          m_quantumBits(std::move(quantumBits)),
          m_deficitBits(classes, 0.0)
    {
    }

  protected:
    void Arrived(uint32_t, ns3::Ptr<const ns3::Packet>) override
    {
    }

    uint32_t Next() override
    {
        while (true)
        {
            if (!m_visiting)
            {
                m_at = (m_at + 1) % m_waiting.size();
                if (m_waiting[m_at].empty())
                {
                    continue;
                }
                m_deficitBits[m_at] += m_quantumBits[m_at];
                m_visiting = true;
            }
            if (!m_waiting[m_at].empty() && HeadBits(m_at) <= m_deficitBits[m_at])
            {
                m_deficitBits[m_at] -= HeadBits(m_at);
                return m_at;
            }
            if (m_waiting[m_at].empty())
            {
                m_deficitBits[m_at] = 0.0;
            }
            m_visiting = false;
        }
    }

    void BecameIdle() override
    {
        m_deficitBits.assign(m_deficitBits.size(), 0.0);
        m_visiting = false;
    }

  private:
    std::vector<double> m_quantumBits;
    std::vector<double> m_deficitBits;
    uint32_t m_at = 0;
    bool m_visiting = false;
};

// Self-clocked fair queueing (Golestani, INFOCOM 1994).
class SelfClockedFair : public ClassQueues
{
  public:
    SelfClockedFair(uint32_t classes, uint32_t room, std::vector<double> weights)
        : ClassQueues(classes, room),
          m_weights(std::move(weights)),
          m_lastTag(classes, 0.0),
          m_tags(classes)
    {
    }

  protected:
    void Arrived(uint32_t queue, ns3::Ptr<const ns3::Packet> packet) override
    {
        const double tag = std::max(m_virtualTime, m_lastTag[queue]) + 8.0 * packet->GetSize() / m_weights[queue];
        m_lastTag[queue] = tag;
        m_tags[queue].push_back(tag);
    }

    uint32_t Next() override
    {
        uint32_t best = 0;
        double smallest = std::numeric_limits<double>::infinity();
        for (uint32_t queue = 0; queue < m_tags.size(); ++queue)
        {
            if (!m_tags[queue].empty() && m_tags[queue].front() < smallest)
            {
                smallest = m_tags[queue].front();
                best = queue;
            }
        }
        m_tags[best].pop_front();
        m_virtualTime = smallest;
        return best;
    }

    void BecameIdle() override
    {
        m_virtualTime = 0.0;
        m_lastTag.assign(m_lastTag.size(), 0.0);
    }

  private:
    std::vector<double> m_weights;
    std::vector<double> m_lastTag;
    std::vector<std::deque<double>> m_tags;
    double m_virtualTime = 0.0;
};

// ns-3's strict priority put where the device looks for its packets: no second queue below it.
class StrictPriority : public ns3::Queue<ns3::Packet>
{
  public:
    StrictPriority(uint32_t classes, uint32_t room)
        : m_disc(ns3::CreateObject<ns3::PrioQueueDisc>())
    {
        std::string bands = "0";
        for (uint32_t priority = 1; priority < 16; ++priority)
        {
            bands += " " + std::to_string(std::min(priority, classes - 1));
        }
        m_disc->SetAttribute("Priomap", ns3::StringValue(bands));
        for (uint32_t band = 0; band < std::max(classes, 2u); ++band) // PrioQueueDisc wants at least two
        {
            auto child = ns3::CreateObject<ns3::FifoQueueDisc>();
            child->SetMaxSize(ns3::QueueSize(ns3::QueueSizeUnit::PACKETS, room));
            auto entry = ns3::CreateObject<ns3::QueueDiscClass>();
            entry->SetQueueDisc(child);
            m_disc->AddQueueDiscClass(entry);
        }
        m_disc->Initialize();
    }

    bool Enqueue(ns3::Ptr<ns3::Packet> packet) override
    {
        ns3::SocketPriorityTag priority;
        priority.SetPriority(TravelTag::Of(packet).queue);
        packet->ReplacePacketTag(priority);
        return m_disc->Enqueue(ns3::Create<Item>(packet));
    }

    ns3::Ptr<ns3::Packet> Dequeue() override
    {
        ns3::Ptr<ns3::QueueDiscItem> item = m_disc->Dequeue();
        return item ? item->GetPacket() : nullptr;
    }

    ns3::Ptr<ns3::Packet> Remove() override
    {
        return Dequeue();
    }

    ns3::Ptr<const ns3::Packet> Peek() const override
    {
        return nullptr; // no device asks
    }

  private:
    class Item : public ns3::QueueDiscItem
    {
      public:
        explicit Item(ns3::Ptr<ns3::Packet> packet)
            : QueueDiscItem(packet, ns3::Address(), 0x0800)
        {
        }

        void AddHeader() override
        {
        }

        bool Mark() override
        {
            return false;
        }
    };

    ns3::Ptr<ns3::PrioQueueDisc> m_disc;
};
