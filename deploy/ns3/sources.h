// When packets are born and how large they are; all randomness from ns-3's own generator (MRG32k3a).
#pragma once

#include <ns3/random-variable-stream.h>

#include <algorithm>
#include <cmath>
#include <istream>
#include <stdexcept>
#include <string>
#include <vector>

class Source
{
  public:
    // Reads: model packets_per_s on_s off_s correlation sigma, then mean_bits and sizes (bits, probability);
    // no sizes: exponential ones.
    explicit Source(std::istream& input)
    {
        std::size_t sizes = 0;
        input >> m_model >> m_rate >> m_onS >> m_offS >> m_correlation >> m_sigma >> m_meanBits >> sizes;
        m_sizes.resize(sizes);
        m_probabilities.resize(sizes);
        for (std::size_t entry = 0; entry < sizes; ++entry)
        {
            input >> m_sizes[entry] >> m_probabilities[entry];
        }
        m_uniform = ns3::CreateObject<ns3::UniformRandomVariable>();
        m_exponential = ns3::CreateObject<ns3::ExponentialRandomVariable>();
        m_normal = ns3::CreateObject<ns3::NormalRandomVariable>();
        if (m_rate <= 0)
        {
            return;
        }
        m_level = m_normal->GetValue();
        if (m_model == "cbr")
        {
            m_nextS = m_uniform->GetValue() / m_rate;
            return;
        }
        if (m_model == "onoff")
        {
            const bool startsOn = m_uniform->GetValue() * (m_onS + m_offS) < m_onS;
            m_nextS = startsOn ? 0.0 : Exponential(m_offS);
            m_onEndsS = m_nextS + Exponential(m_onS);
        }
        Advance();
    }

    bool Silent() const
    {
        return m_rate <= 0;
    }

    // Time of the next packet in seconds.
    double NextS() const
    {
        return m_nextS;
    }

    void Advance()
    {
        if (m_model == "poisson")
        {
            m_nextS += Exponential(1 / m_rate);
        }
        else if (m_model == "cbr")
        {
            m_nextS += 1 / m_rate;
        }
        else if (m_model == "onoff")
        {
            // Poisson while on, at the rate that keeps the mean; time runs on inside on periods only.
            double active = Exponential(m_onS / (m_onS + m_offS) / m_rate);
            while (m_nextS + active > m_onEndsS)
            {
                active -= m_onEndsS - m_nextS;
                m_nextS = m_onEndsS + Exponential(m_offS);
                m_onEndsS = m_nextS + Exponential(m_onS);
            }
            m_nextS += active;
        }
        else if (m_model == "autocorrelated")
        {
            NextLevel();
            m_nextS += -std::log(0.5 * std::erfc(m_level / std::sqrt(2.0))) / m_rate;
        }
        else if (m_model == "modulated")
        {
            NextLevel();
            m_nextS += Exponential(1 / m_rate) * std::exp(m_sigma * m_level - m_sigma * m_sigma / 2);
        }
        else
        {
            throw std::runtime_error("unknown arrivals " + m_model);
        }
    }

    // Whole bytes of a new packet, headers of the device included: those take 2.
    uint32_t Bytes()
    {
        double bits = m_meanBits;
        if (m_sizes.empty())
        {
            bits = Exponential(m_meanBits);
        }
        else
        {
            double rest = m_uniform->GetValue();
            std::size_t entry = 0;
            while (entry + 1 < m_sizes.size() && rest >= m_probabilities[entry])
            {
                rest -= m_probabilities[entry++];
            }
            bits = m_sizes[entry];
        }
        return std::max(2u, static_cast<uint32_t>(std::lround(bits / 8)));
    }

  private:
    double Exponential(double mean)
    {
        return m_exponential->GetValue(mean, 0.0);
    }

    void NextLevel()
    {
        m_level = m_correlation * m_level + std::sqrt(1 - m_correlation * m_correlation) * m_normal->GetValue();
    }

    std::string m_model;
    double m_rate = 0;
    double m_onS = 0;
    double m_offS = 0;
    double m_correlation = 0;
    double m_sigma = 0;
    double m_meanBits = 0;
    std::vector<double> m_sizes;
    std::vector<double> m_probabilities;
    double m_nextS = 0;
    double m_onEndsS = 0;
    double m_level = 0;
    ns3::Ptr<ns3::UniformRandomVariable> m_uniform;
    ns3::Ptr<ns3::ExponentialRandomVariable> m_exponential;
    ns3::Ptr<ns3::NormalRandomVariable> m_normal;
};
